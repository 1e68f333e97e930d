"""Which of the request formats a JSON document has: those of MLflow's scoring server and of Azure's online endpoints.

Standard library only: the parent asks for it of every `.json` file that it finds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from batchscore.errors import FileRefused
from batchscore.storage import open_stored

WRAPPERS = ("input_data", "dataframe_split", "dataframe_records", "inputs", "instances")
SPLIT = frozenset({"columns", "index", "data"})
EXPECTED = (
    f"expected an object with one of {', '.join(WRAPPERS)} (and params), one with columns and data, "
    "one of lists of the same length, or a list"
)
WHOLE_BYTES = 1 << 20
"""Up to this size a file is parsed to find out; of a longer one the beginning tells."""
SNIFFED_BYTES = 1 << 12
_BEGINNING = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"(?:input_data|dataframe_split|dataframe_records|inputs|instances|params'
    rb'|columns|index|data)"\s*:|\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[|\[\s*[\[{"\d-])'
)

Kind = Literal["records", "rows", "columns", "items"]


@dataclass(frozen=True, slots=True)
class Payload:
    """The rows of a document, in the form in which they stand there."""

    kind: Kind
    """records: an object for each row. rows: a list for each row. columns: a list for each name. items: a value for
    each row, such as the tensor of one."""
    body: list[Any]
    names: tuple[str, ...] = ()
    """Of rows and columns."""
    is_for_arrays: bool = False
    """Under `inputs` or `instances`: a model without a signature gets arrays, as from MLflow's server."""
    params: Any = field(default=None)

    @property
    def rows(self) -> int:
        if self.kind == "columns":
            return len(self.body[0]) if self.body else 0
        return len(self.body)

    def first(self, rows: int | None) -> Payload:
        """The first rows, all where None."""
        if rows is None:
            return self
        return replace(self, body=[part[:rows] for part in self.body] if self.kind == "columns" else self.body[:rows])


def is_payload(path: str) -> bool:
    """Whether a `.json` file holds rows to score, as far as its beginning and its keys tell.

    One that can't be opened, or that is a payload cut short, counts: reading it says what is wrong.
    """
    try:
        with open_stored(path) as stream:
            text = stream.read(WHOLE_BYTES + 1)
    except OSError:
        return True
    if len(text) <= WHOLE_BYTES:
        try:
            recognised(json.loads(text))
        except FileRefused:
            return False
        except (ValueError, RecursionError):
            pass
        else:
            return True
    return _BEGINNING.match(text[:SNIFFED_BYTES]) is not None


def recognised(document: Any) -> Payload:
    """The payload in a parsed document; FileRefused for anything else."""
    if isinstance(document, list):
        return listed(document)
    if not isinstance(document, dict):
        raise FileRefused(f"found {_kind_of(document)}; {EXPECTED}")
    wrappers = [name for name in WRAPPERS if name in document]
    if wrappers:
        beside = [name for name in document if name not in (wrappers[0], "params")]
        if beside:
            raise FileRefused(f"found {beside[0]!r} beside {wrappers[0]!r}; expected nothing but params beside it")
        return replace(_wrapped(wrappers[0], document[wrappers[0]]), params=document.get("params"))
    if _is_split(document) and "columns" in document:
        return _split(document)
    if document and all(isinstance(part, list) for part in document.values()):
        return _columns(document)
    raise FileRefused(f"found an object with {_some(document)}; {EXPECTED}")


def _wrapped(name: str, content: Any) -> Payload:
    if name == "dataframe_records":
        payload = listed(content) if isinstance(content, list) else None
        if payload is None or (payload.kind != "records" and payload.rows):
            raise FileRefused(f"{name}: expected a list of objects, one for each row")
        return replace(payload, kind="records")
    if name == "dataframe_split":
        if not isinstance(content, dict) or not _is_split(content):
            raise FileRefused(f"{name}: expected an object with data, columns and at most index")
        return _split(content)
    is_for_arrays = name in ("inputs", "instances")
    if isinstance(content, list):
        return replace(listed(content), is_for_arrays=is_for_arrays)
    if not isinstance(content, dict):
        raise FileRefused(f"{name}: found {_kind_of(content)}; expected a list, or an object of lists")
    if not is_for_arrays and _is_split(content):
        return _split(content)
    return replace(_columns(content), is_for_arrays=is_for_arrays)


def listed(items: list[Any]) -> Payload:
    """Records, or a value for each row; FileRefused where both are there."""
    are_records = [isinstance(item, dict) for item in items]
    if not any(are_records):
        return Payload("items", items)
    if not all(are_records):
        row = are_records.index(not are_records[0])
        raise FileRefused(
            f"row {row}: found {_kind_of(items[row])}, where the rows before it are "
            f"{'objects' if are_records[0] else 'none'}; expected rows of one form",
            row=row,
        )
    return Payload("records", items)


def _is_split(content: dict[str, Any]) -> bool:
    return "data" in content and content.keys() <= SPLIT


def _split(content: dict[str, Any]) -> Payload:
    data, columns, index = content["data"], content.get("columns"), content.get("index")
    if not isinstance(data, list):
        raise FileRefused(f"data: found {_kind_of(data)}; expected a list with a list for each row")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise FileRefused(f"index: expected a list of {len(data)} labels, one for each row of data")
    if columns is None:
        width = len(data[0]) if data and isinstance(data[0], list) else 1
        names = tuple(map(str, range(width)))
    elif isinstance(columns, list) and not any(isinstance(name, (list, dict, type(None))) for name in columns):
        names = tuple(map(str, columns))
    else:
        raise FileRefused("columns: expected a list of names; columns of several levels can't be matched")
    rows = [row if isinstance(row, list) or len(names) != 1 else [row] for row in data]
    return Payload("rows", of_width(rows, len(names)), names)


def of_width(rows: list[Any], width: int, first_row: int = 0) -> list[Any]:
    """The rows; FileRefused for the first that isn't a list of so many values."""
    for row, values in enumerate(rows, first_row):
        if not isinstance(values, list) or len(values) != width:
            found = f"{len(values)} values" if isinstance(values, list) else _kind_of(values)
            raise FileRefused(f"row {row}: found {found}; expected a list of {width}, one for each column", row=row)
    return rows


def _columns(content: dict[str, Any]) -> Payload:
    """Lists by name; an object that has other values too is one record, as for MLflow's server."""
    if not content:
        raise FileRefused("found an empty object; expected lists by name, a value for each row")
    if not all(isinstance(part, list) for part in content.values()):
        return Payload("records", [content])
    lengths = {name: len(part) for name, part in content.items()}
    if len(set(lengths.values())) > 1:
        (one, length), (other, wrong) = next(
            (pair, another) for pair in lengths.items() for another in lengths.items() if pair[1] != another[1]
        )
        raise FileRefused(
            f"{one!r} has {length} rows and {other!r} has {wrong}; expected lists of the same length, a value a row"
        )
    return Payload("columns", list(content.values()), tuple(content))


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds: dict[type, str] = {list: "a list", dict: "an object", str: "text"}
    return kinds.get(type(value), "a number")


def _some(document: dict[str, Any]) -> str:
    names = list(document)
    shown = ", ".join(map(repr, names[:5])) + (" and others" if len(names) > 5 else "")  # noqa: PLR2004  # enough to know it
    return f"the keys {shown}" if names else "no keys"
