"""Parameters of predict, from the command line's text to values of the model's params schema."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchscore.errors import UsageError
from batchscore.schema.datatypes import Type, children, item_type, stated_type, type_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchscore.minibatch import Json

INTEGER_BITS = {"integer": 32, "long": 64}


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A parameter of predict; shape (-1,) is a list, None one value or an object."""

    name: str
    type: Type
    default: Any = None
    shape: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, record: Json) -> ParamSpec:
        shape = record.get("shape")
        stated = {**record, "type": record.get("type") or record.get("dtype")}
        return cls(
            str(record["name"]), stated_type(stated), record.get("default"), None if shape is None else tuple(shape)
        )

    @property
    def whole_type(self) -> Type:
        """The type of the whole value: a list has an array type."""
        return self.type if self.shape is None else {"type": "array", "items": {"type": self.type}}

    def __str__(self) -> str:
        return type_text(self.whole_type)


def parse_params(specs: Sequence[ParamSpec], given: Iterable[tuple[str, str]]) -> Json:
    """The given parameters as JSON values that MLflow takes for them.

    Text for a string or datetime stands as it is; everything else is JSON, lists and objects too.
    Raises UsageError for unknown names, for values that don't fit, and for any where the model has no params schema.
    """
    by_name = {spec.name: spec for spec in specs}
    values: Json = {}
    for name, text in given:
        if name not in by_name:
            raise UsageError(_unknown(name, list(by_name)))
        if name in values:
            raise UsageError(f"parameter {name!r} is given twice; give it once")
        values[name] = _parse(by_name[name], text)
    return values


def _unknown(name: str, names: list[str]) -> str:
    if not names:
        return f"parameter {name!r}: the model has no params schema, so it takes no parameters; leave it out"
    similar = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    return f"unknown parameter {name!r}; the model has {', '.join(map(repr, names))}{hint}"


def _parse(spec: ParamSpec, text: str) -> Any:
    kind = spec.whole_type
    try:
        value = text if kind in ("string", "datetime") else json.loads(text, parse_float=_finite)
        return value if value is None else _fitted(value, kind)
    except (ValueError, OverflowError, RecursionError) as error:
        reason = "" if isinstance(error, json.JSONDecodeError) else f" ({error})"
        raise UsageError(f"parameter {spec.name!r}: found {text!r}, expected {spec}{reason}{_written(kind)}") from None


def _written(kind: Type) -> str:
    """How values of a type are written that aren't plain numbers or text."""
    if isinstance(kind, dict):
        return "; lists and objects are JSON, such as [1, 2]"
    return ", written true or false" if kind == "boolean" else ""


def _fitted(value: Any, kind: Type) -> Any:
    """The value in the type's own Python type; ValueError with the reason where it doesn't fit."""
    if isinstance(kind, str):
        return _scalar(value, kind)
    if kind["type"] == "object":
        return _object(value, kind)
    if kind["type"] == "map":
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")  # wrong JSON is a wrong value
        return {key: _fitted(part, item_type(kind)) for key, part in value.items()}
    if not isinstance(value, list):
        raise ValueError("not a JSON list")  # wrong JSON is a wrong value
    return [_fitted(part, item_type(kind)) for part in value]


def _object(value: Any, kind: Json) -> Json:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # wrong JSON is a wrong value
    properties = {name: (part, required) for name, part, required in children(kind)}
    if unknown := [name for name in value if name not in properties]:
        raise ValueError(f"no such property: {', '.join(unknown)}")
    if missing := [name for name, (_, required) in properties.items() if required and name not in value]:
        raise ValueError(f"without the property {', '.join(missing)}")
    return {
        name: None if part is None and not properties[name][1] else _fitted(part, properties[name][0])
        for name, part in value.items()
    }


def _scalar(value: Any, kind: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "any":
        return value
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "datetime" and isinstance(value, str):
        return _datetime(value)
    if kind in INTEGER_BITS and is_number and value == value // 1:
        bound = 1 << (INTEGER_BITS[kind] - 1)
        if not -bound <= value < bound:
            raise ValueError(f"beyond {-bound} to {bound - 1}")
        return int(value)
    if kind in ("double", "float") and is_number:
        if isinstance(value, int) and float(value) != value:
            raise ValueError("a double can't hold this integer exactly")
        return float(value)
    raise ValueError(f"{json.dumps(value)} is no {kind}")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("too large")
    return value


def _datetime(text: str) -> str:
    """ISO text without an offset, in UTC where one was given, which MLflow turns into a datetime."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", text.strip()):
        raise ValueError("not an ISO date or timestamp such as 2026-01-31 or 2026-01-31T12:00:00Z")
    body, point, rest = text.strip().replace("Z", "+00:00").partition(".")
    digits = re.match(r"\d*", rest)
    fraction = digits[0] if digits else ""
    # Python 3.10 takes fractions of 3 or 6 digits only
    moment = dt.datetime.fromisoformat(f"{body}.{fraction.ljust(6, '0')}{rest[len(fraction) :]}" if point else body)
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return moment.isoformat()
