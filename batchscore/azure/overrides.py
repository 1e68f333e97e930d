"""--set KEY=VALUE: values put in place of the YAML's, by its dotted keys or by Azure's names for a job's overrides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchscore.azure.document import Place, Value
from batchscore.deployment import Style
from batchscore.errors import UsageError

INVOKE_NAMES = (
    "error_threshold", "mini_batch_size", "output_file_name", "retry_settings.max_retries", "retry_settings.timeout",
    "compute.instance_count",
)  # fmt: skip
"""What `az ml batch-endpoint invoke --set` overrides, whatever the deployment's style is."""


def apply_overrides(document: Value, overrides: Sequence[tuple[str, str]], style: Style) -> Value:
    """The document with the overrides in it, the later over the earlier; every value is text, as on a command line.

    Raises UsageError, naming the --set, where a key isn't one or leads through something that has no keys.
    """
    for key, text in overrides:
        document = _with(document, _target(key, document, style).split("."), key, text)
    return document


def _target(key: str, document: Value, style: Style) -> str:
    """The dotted key of the YAML that a --set means."""
    if not all(key.split(".")):
        raise UsageError(f"--set {key}: expected a key with dots between its parts, such as {INVOKE_NAMES[3]}")
    if key == "compute.instance_count":
        here = "settings.instance_count"
        return here if style == "settings" and document.find(here) else "resources.instance_count"
    return f"settings.{key}" if style == "settings" and key in INVOKE_NAMES else key


def _with(value: Value, parts: Sequence[str], option: str, text: str) -> Value:
    """The value with a text at the end of the path; mappings on the way are copied or made."""
    place = Place(value.place.file, value.place.line, value.place.below(parts[0]), option)
    content: dict[Any, Value] = dict(value.content)
    if len(parts) == 1:
        return Value({**content, parts[0]: Value(text, place, text)}, value.place)
    below = content.get(parts[0], Value({}, place))
    if not isinstance(below.content, dict):
        raise UsageError(f"--set {option}: there are no keys to set below {below.place.key} ({below.place})")
    return Value({**content, parts[0]: _with(below, parts[1:], option, text)}, value.place)
