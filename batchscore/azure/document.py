"""A YAML file as values that know their file, line and dotted key."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batchscore.errors import UsageError
from batchscore.redaction import redact

MAX_BYTES = 1 << 20
MAX_VALUES = 10_000
"""With aliases expanded; a deployment has some dozens."""
MAX_DEPTH = 50
SHOWN = 80
"""Characters of a value that a message shows."""

MERGE = "tag:yaml.org,2002:merge"
MAPPING = "tag:yaml.org,2002:map"
SEQUENCE = "tag:yaml.org,2002:seq"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: a line of a file, or a --set."""

    file: str
    line: int
    key: str = ""
    """Dotted; empty for the whole file."""
    option: str | None = None
    """The KEY of the --set that the value comes from."""

    def below(self, name: object) -> str:
        """The dotted key of an entry."""
        return f"{self.key}.{name}" if self.key else str(name)

    def __str__(self) -> str:
        if self.option is not None:
            return f"--set {self.option}" if self.option == self.key else f"--set {self.option} ({self.key})"
        return f"{self.file}:{self.line}: {self.key}" if self.key else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a YAML file."""

    content: Any
    """dict[key, Value], list[Value], or a scalar with the type that YAML's safe loader gives it."""
    place: Place
    text: str = ""
    """A scalar as written."""

    def __str__(self) -> str:
        """How a message shows it."""
        if self.content is None:
            return "null"
        if isinstance(self.content, dict):
            return "a mapping" if self.content else "an empty mapping"
        if isinstance(self.content, list):
            return "a list"
        shown = redact(self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…")
        return repr(shown) if isinstance(self.content, str) else shown

    def find(self, dotted: str) -> Value | None:
        """The value below this one, if it is there."""
        here: Value | None = self
        for part in dotted.split("."):
            here = here.content.get(part) if here and isinstance(here.content, dict) else None
        return here


def refusal(value: Value, expected: str) -> UsageError:
    """The error for a value that isn't what was expected."""
    return UsageError(f"{value.place}: found {value}; expected {expected}")


def read_document(path: str) -> Value:
    """Read a YAML file with one mapping in it, as PyYAML's safe loader does.

    Raises UsageError: not there, not UTF-8, not YAML, more than one document, keys that come twice, tags that the
    safe loader doesn't know, and files that grow past all bounds when their aliases are expanded.
    """
    text = _text(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise UsageError(f"{path} is empty; expected the YAML of a batch deployment")
        value = _Builder(path, loader).value(node, Place(path, _line(node)), depth=0)
    except yaml.MarkedYAMLError as error:
        raise UsageError(_syntax(path, error)) from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path} can't be read as YAML: {reason}") from error
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply; a deployment has four levels") from None
    if not isinstance(value.content, dict):
        raise refusal(value, "keys and values, as a batch deployment has them")
    return value


def _text(path: str) -> str:
    file = Path(path)
    if file.is_dir():
        found = sorted(each.name for pattern in ("*.yml", "*.yaml") for each in file.glob(pattern))
        raise UsageError(
            f"{path} is a folder; give the deployment's YAML file{', one of ' if found else ''}{', '.join(found[:10])}"
        )
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes; that is no deployment's YAML")
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax(path: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
    if "single document" in str(error.context):
        return f"{where}: found a second document; expected one deployment in a file (no --- between)"
    problem = " ".join(str(part) for part in (error.context, error.problem) if part)
    return f"{where}: can't be read as YAML: {problem}"


class _Builder:
    """Builds Values from nodes: aliases and merge keys expanded within bounds."""

    def __init__(self, path: str, loader: yaml.SafeLoader) -> None:
        self._path = path
        self._loader = loader
        self._count = 0

    def value(self, node: yaml.Node, place: Place, depth: int) -> Value:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            raise UsageError(
                f"{place}: more than {MAX_VALUES:,} values or {MAX_DEPTH} levels once its aliases (*name) are expanded"
            )
        if isinstance(node, yaml.ScalarNode):
            return Value(self._scalar(node, place), place, node.value)
        if isinstance(node, yaml.SequenceNode) and node.tag == SEQUENCE:
            items = [
                self.value(item, Place(self._path, _line(item), place.below(number)), depth + 1)
                for number, item in enumerate(node.value)
            ]
            return Value(items, place)
        if isinstance(node, yaml.MappingNode) and node.tag == MAPPING:
            entries = {
                key: self.value(item, Place(self._path, line, place.below(key)), depth + 1)
                for key, (line, item) in self._entries(node, place, depth).items()
            }
            return Value(entries, place)
        raise UsageError(f"{place}: found the YAML tag {node.tag}; expected plain values, lists and mappings")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        try:
            return self._loader.construct_object(node)
        except yaml.constructor.ConstructorError as error:
            raise UsageError(f"{place}: found the YAML tag {node.tag}; expected a plain value") from error
        except (ValueError, OverflowError, LookupError, AttributeError, TypeError):  # the last three: wrong !!tags
            kind = node.tag.rpartition(":")[2]
            raise UsageError(f"{place}: can't be read as YAML's {kind}; put it in quotes if it is text") from None

    def _entries(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[Hashable, tuple[int, yaml.Node]]:
        """Each key's line and node; a mapping's own keys win over merged ones (`<<`), earlier merges over later."""
        own: dict[Hashable, tuple[int, yaml.Node]] = {}
        merged: dict[Hashable, tuple[int, yaml.Node]] = {}
        merge_line = 0
        for key_node, item in node.value:
            line = _line(key_node)
            if key_node.tag == MERGE:
                if merge_line:
                    raise UsageError(_twice(self._path, line, place.below("<<"), merge_line))
                merge_line = line
                merged = self._merged(item, place, depth + 1)
                continue
            key = self._key(key_node, place)
            if key in own:
                raise UsageError(_twice(self._path, line, place.below(key), own[key][0]))
            own[key] = (line, item)
        return {**merged, **own}

    def _merged(self, item: yaml.Node, place: Place, depth: int) -> dict[Hashable, tuple[int, yaml.Node]]:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise UsageError(f"{place}: its merge keys (<<) lead nowhere")
        sources = item.value if isinstance(item, yaml.SequenceNode) else [item]
        merged: dict[Hashable, tuple[int, yaml.Node]] = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise UsageError(f"{self._path}:{_line(source)}: a merge key (<<) takes mappings only")
            merged.update(self._entries(source, place, depth))
        return merged

    def _key(self, node: yaml.Node, place: Place) -> Hashable:
        if not isinstance(node, yaml.ScalarNode):
            raise UsageError(
                f"{self._path}:{_line(node)}: found a list or mapping as a key below {place.key or 'the root'}"
            )
        key = self._scalar(node, Place(self._path, _line(node), place.below(node.value)))
        return key if isinstance(key, Hashable) else node.value


def _twice(path: str, line: int, key: str, first: int) -> str:
    return f"{path}:{line}: {key}: the key stands twice, first in line {first}; keep one of them"
