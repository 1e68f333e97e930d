"""The signature as MLmodel states it, without pandas."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchscore.errors import UsageError
from batchscore.schema.datatypes import Type, stated_type, type_text
from batchscore.schema.params import ParamSpec, parse_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchscore.minibatch import Json

__all__ = ["ColumnSpec", "ModelSignature", "ParamSpec", "Schema", "TensorSpec", "Type", "parse_params"]

SCALAR_BYTES = {"double": 8, "long": 8, "datetime": 8, "float": 4, "integer": 4, "boolean": 1}
"""All else counts as 64."""
TENSOR_BYTES = {
    "float16": 2, "float32": 4, "float64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "str": 64, "object": 64,
}  # fmt: skip
"""The dtypes that a file can fill, with the bytes of one item."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column of a signature; unnamed where the whole signature is."""

    name: str | None
    type: Type
    required: bool = True

    @classmethod
    def from_json(cls, record: Json) -> ColumnSpec:
        required = record.get("required")
        if required is None:  # written before MLflow 2.10
            required = not record.get("optional", False)
        return cls(record.get("name"), stated_type(record), required)

    def to_json(self) -> Json:
        stated = {"type": self.type} if isinstance(self.type, str) else dict(self.type)
        named = {} if self.name is None else {"name": self.name}
        return {**stated, **named, "required": self.required}

    @property
    def width(self) -> int:
        """Estimated bytes of one value."""
        return SCALAR_BYTES.get(self.type, 64) if isinstance(self.type, str) else 64

    def __str__(self) -> str:
        return type_text(self.type)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a signature; -1 in its shape is a dimension of any size."""

    name: str | None
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def from_json(cls, record: Json) -> TensorSpec:
        stated = record["tensor-spec"]
        return cls(record.get("name"), stated["dtype"], tuple(stated["shape"]))

    def to_json(self) -> Json:
        named = {} if self.name is None else {"name": self.name}
        return {**named, "type": "tensor", "tensor-spec": {"dtype": self.dtype, "shape": list(self.shape)}}

    @property
    def items(self) -> int:
        """Items of one row; unknown dimensions count as 1."""
        return math.prod(abs(size) if size != -1 else 1 for size in self.shape[1:])

    @property
    def width(self) -> int:
        """Estimated bytes of one row; rows with a dimension of any size count 8 for each known item."""
        return self.items * (8 if -1 in self.shape[1:] else TENSOR_BYTES.get(self.dtype, 8))

    def __str__(self) -> str:
        return f"tensor of {self.dtype}, shape {self.shape}"


@dataclass(frozen=True, slots=True)
class Schema:
    """What goes into a model or comes out of it: columns or tensors, one of the two."""

    columns: tuple[ColumnSpec, ...] = ()
    tensors: tuple[TensorSpec, ...] = ()

    @classmethod
    def from_json(cls, records: Sequence[Json]) -> Schema:
        """The schema of MLmodel's JSON list; UsageError for what MLflow doesn't write."""
        try:
            if any(record["type"] == "tensor" for record in records):
                return cls(tensors=tuple(TensorSpec.from_json(record) for record in records))
            return cls(columns=tuple(ColumnSpec.from_json(record) for record in records))
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"the model's signature can't be read ({type(error).__name__}: {error}); "
                "expected MLflow's list of columns or tensors; log the model again"
            ) from error

    def to_json(self) -> list[Json]:
        return [spec.to_json() for spec in self.specs]

    @property
    def specs(self) -> tuple[ColumnSpec, ...] | tuple[TensorSpec, ...]:
        return self.columns or self.tensors

    @property
    def is_named(self) -> bool:
        return bool(self.specs) and self.specs[0].name is not None

    @property
    def row_width(self) -> int:
        """Estimated bytes of one row."""
        return sum(spec.width for spec in self.specs)


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """MLmodel's `signature`; None is a part that it doesn't state."""

    inputs: Schema | None = None
    outputs: Schema | None = None
    params: tuple[ParamSpec, ...] = ()

    @classmethod
    def from_mlmodel(cls, record: Json | None) -> ModelSignature:
        """The signature of an MLmodel file, whose parts are JSON text; UsageError for what MLflow doesn't write."""
        stated = {part: _decoded(part, (record or {}).get(part)) for part in ("inputs", "outputs", "params")}
        inputs, outputs = (
            None if stated[part] is None else Schema.from_json(stated[part]) for part in ("inputs", "outputs")
        )
        try:
            params = tuple(ParamSpec.from_json(param) for param in stated["params"] or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"the model's params schema can't be read ({type(error).__name__}: {error}); log the model again"
            ) from error
        return cls(inputs, outputs, params)


def _decoded(part: str, stated: Any) -> Any:
    if not isinstance(stated, str):
        return stated or None
    try:
        return json.loads(stated) or None
    except ValueError as error:
        raise UsageError(f"the signature's {part} in MLmodel aren't JSON ({error}); log the model again") from error
