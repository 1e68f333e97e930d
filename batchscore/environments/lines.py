"""The lines of a requirements file as pip reads them: requirements, options, other files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batchscore.errors import UsageError
from batchscore.modelfolder import read_text
from batchscore.redaction import redact
from batchscore.versions import clauses

PASSED_ON = {
    "-i": "--index-url", "--index-url": "--index-url", "--pypi-url": "--index-url",
    "--extra-index-url": "--extra-index-url", "-f": "--find-links", "--find-links": "--find-links",
    "--no-binary": "--no-binary", "--only-binary": "--only-binary", "--trusted-host": "--allow-insecure-host",
}  # fmt: skip
"""Options with a value that uv knows too, by its name."""
PASSED_ON_ALONE = {"--no-index": "--no-index", "--pre": "--prerelease=allow"}

_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*(?P<rest>.*)", re.DOTALL)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|[^\\])")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: a package by name and versions, or what lies at an address or in a local file or folder."""

    name: str
    """Normalised: lower case with hyphens; empty where only an address or path is given."""
    specifier: str = ""
    """`>=1.5,<3`; empty where any version does, or where there is an address."""
    extras: str = ""
    """With brackets."""
    marker: str = ""
    """`python_version < "3.11"`."""
    address: str = field(default="", repr=False)
    """A URL, which may hold a password, or an absolute local path."""
    hashes: tuple[str, ...] = ()
    """`--hash=sha256:…`"""

    @property
    def is_local(self) -> bool:
        return self.address.startswith("/")

    def __str__(self) -> str:
        address = Path(self.address).as_uri() if self.is_local else self.address
        if address:
            text = f"{self.name}{self.extras} @ {address}" if self.name else f"{address}{self.extras}"
        else:
            text = f"{self.name}{self.extras}{self.specifier}"
        marker = f" ; {self.marker}" if self.marker else ""
        return " ".join((text + marker, *self.hashes))


@dataclass(frozen=True, slots=True)
class Lines:
    """What a requirements file says, with the files that it includes."""

    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    options: tuple[str, ...] = field(default=(), repr=False)
    """uv's command line options; an index's URL may hold a password."""
    notes: tuple[str, ...] = ()

    def __add__(self, other: Lines) -> Lines:
        return Lines(
            self.requirements + other.requirements,
            self.constraints + other.constraints,
            self.options + tuple(option for option in other.options if option not in self.options),
            self.notes + other.notes,
        )


def read(file: Path, *, seen: tuple[Path, ...] = ()) -> Lines:
    """A requirements file and those that it includes. Raises UsageError."""
    if file in seen:
        raise UsageError(f"{file} includes itself; take the -r out")
    try:
        text = read_text(file).removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read the requirements in {file}: {error}") from error
    return parse(text, file.parent, str(file), seen=(*seen, file))


def parse(text: str, folder: Path, source: str, *, seen: tuple[Path, ...] = ()) -> Lines:
    """The requirements in a text; relative paths are relative to the folder. Raises UsageError naming the source."""
    found = Lines()
    for line in _logical(text):
        try:
            if not line.startswith("-"):
                found += Lines((requirement(line, folder),))
                continue
            for option in re.split(r"\s+(?=--?[a-z])", line):
                found += _option(option, folder, seen)
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: a user's home that isn't known
            raise UsageError(f"{source}: {redact(line)!r} is not a requirement: {redact(str(error))}") from error
    return found


def _logical(text: str) -> Iterator[str]:
    """Lines without comments, those joined that end in a backslash."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if stripped := re.sub(r"(^|\s+)#.*$", "", line).strip():
            yield stripped


def _option(line: str, folder: Path, seen: tuple[Path, ...]) -> Lines:
    words = shlex.split(line)
    name, _, value = words[0].partition("=")
    if not name.startswith("--") and len(name) > 2:  # noqa: PLR2004  # -rother.txt
        name, value = name[:2], words[0][2:]
    value = value or " ".join(words[1:])
    if name in PASSED_ON_ALONE:
        return Lines(options=(PASSED_ON_ALONE[name],))
    if name not in {*PASSED_ON, "-r", "--requirement", "-c", "--constraint", "-e", "--editable"}:
        return Lines(notes=(f"pip's option {name} means nothing to uv and is left out",))
    if not value:
        raise ValueError(f"{name} needs a value")
    if name in {"-e", "--editable"}:
        return Lines((requirement(value, folder),))
    if name in PASSED_ON:
        is_path = PASSED_ON[name] == "--find-links" and not _URL.match(value)
        return Lines(options=(f"{PASSED_ON[name]}={(folder / value).resolve() if is_path else value}",))
    if _URL.match(value):
        raise ValueError("a requirements file at an address; put it beside the model")
    other = read(folder / value, seen=seen)
    if name in {"-r", "--requirement"}:
        return other
    return Lines(constraints=other.requirements + other.constraints, options=other.options, notes=other.notes)


def requirement(line: str, folder: Path) -> Requirement:
    """One requirement. Raises ValueError."""
    text, *options = re.split(r"\s+(?=--)", line)
    hashes = tuple(re.sub(r"^--hash[=\s]+", "--hash=", option) for option in options if option.startswith("--hash"))
    text, marker = _without_marker(text)
    match = _NAME.fullmatch(text)
    if match and match["rest"].startswith("@"):
        address = _address(match["rest"][1:].strip(), folder)
        return Requirement(normal(match["name"]), "", match["extras"] or "", marker, address, hashes)
    if _URL.match(text) or _is_path(text):
        path, extras = _without_extras(text)
        return Requirement("", "", extras, marker, _address(path, folder), hashes)
    if not match or (match["rest"] and not re.match(r"[=<>!~(]", match["rest"])):
        raise ValueError("expected NAME, NAME==VERSION, NAME @ URL, a URL or a path")
    specifier = re.sub(r"\s+", "", match["rest"].strip("()"))
    clauses(specifier)
    return Requirement(normal(match["name"]), specifier, match["extras"] or "", marker, "", hashes)


def normal(name: str) -> str:
    """A package's name as the index knows it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_marker(text: str) -> tuple[str, str]:
    """An address may hold a semicolon: there it takes a space before it."""
    is_address = "@" in text or _URL.match(text) or _is_path(text)
    head, *marker = re.split(r"\s+;\s*" if is_address else r"\s*;\s*", text, maxsplit=1)
    return head.strip(), "".join(marker).strip()


def _without_extras(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*?)(\[[^\]]*\])?", text, re.DOTALL)
    return (match[1], match[2] or "") if match else (text, "")


def _is_path(text: str) -> bool:
    path = _without_extras(text)[0]
    return path.startswith((".", "/", "~")) or "/" in path.partition(";")[0] or path.lower().endswith(_ARCHIVES)


def _address(text: str, folder: Path) -> str:
    """A URL as it is; a path, or a file: URL, as an absolute path. Raises ValueError where nothing lies there."""
    if text.startswith("file:"):
        text = unquote(urlsplit(text).path)
    elif _URL.match(text):
        return text
    path = (folder / Path(text.partition("#")[0]).expanduser()).resolve()
    if not path.exists():
        raise ValueError(f"there is no {path}")
    return str(path)
