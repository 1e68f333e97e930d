"""MLflow's column types, as MLmodel states them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from batchscore.errors import UsageError
from batchscore.minibatch import Json

if TYPE_CHECKING:
    from collections.abc import Iterable

Type: TypeAlias = str | Json
"""MLflow's word for a type, or its record of an array, object or map."""

SCALARS = frozenset({"boolean", "integer", "long", "float", "double", "string", "binary", "datetime"})
NESTED = frozenset({"array", "object", "map", "sparkml_vector"})


def children(kind: Json) -> Iterable[tuple[str, Type, bool]]:
    """Name, type and whether it is required, of each property of an object type."""
    for name, record in kind["properties"].items():
        yield name, stated_type(record), record.get("required", True)


def item_type(kind: Json) -> Type:
    """The type of an array's items or of a map's values."""
    if kind["type"] == "sparkml_vector":
        return "double"
    return stated_type(kind["items"] if kind["type"] == "array" else kind["values"])


def type_text(kind: Type) -> str:
    """The type in words: `double`, `Array(double)`, `Map(string -> long)`, `{a: long, b: string (optional)}`."""
    if isinstance(kind, str):
        return kind
    match kind["type"]:
        case "object":
            parts = (
                f"{name}: {type_text(part)}{'' if required else ' (optional)'}"
                for name, part, required in children(kind)
            )
            return "{" + ", ".join(parts) + "}"
        case "map":
            return f"Map(string -> {type_text(item_type(kind))})"
        case _:
            return f"Array({type_text(item_type(kind))})"


def stated_type(record: Json) -> Type:
    """The type that a record of a column, property, item or parameter states."""
    stated = record["type"]
    if isinstance(stated, dict):
        return stated_type(stated)
    if stated in SCALARS or stated == "any":
        return str(stated)
    if stated not in NESTED:
        known = ", ".join(sorted(SCALARS | NESTED))
        raise UsageError(f"the model's signature has the type {stated!r}; expected one of {known} or any")
    kept: Json = {key: value for key, value in record.items() if key in ("type", "items", "properties", "values")}
    # raises for a type within that isn't known
    _ = list(children(kept)) if stated == "object" else item_type(kept)
    return kept
