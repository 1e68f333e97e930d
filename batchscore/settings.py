"""Settings that are values of their own: how CSV is written, how inputs are cut, and what every worker is given."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Literal

from batchscore.errors import UsageError
from batchscore.minibatch import Json

Format = Literal["csv", "parquet", "jsonl"]
Layout = Literal["table", "azure"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")
SUFFIXES: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".pqt": "parquet", ".jsonl": "jsonl"}
Writer = Literal["csv", "parquet", "jsonl", "headerless"]
"""What encodes the parts: a format, or layout azure's CSV without a header."""
LAYOUTS: tuple[Layout, ...] = ("table", "azure")

MISSING_VALUES = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""pandas' default set (pandas.read_csv, na_values): what the model saw in training."""

AUTO_LEAST_BYTES = 1 << 20
AUTO_MOST_BYTES = 32 << 20
AUTO_MINI_BATCHES = 16
"""`auto` makes so many mini-batches or more of large enough inputs: for progress, resuming and cores."""
AUTO_CSV_BYTES = 8 << 20
AUTO_CSV_ROWS = 16_384
"""A CSV is cut into slices of so many bytes under `auto`, or of so many rows where these take more."""
AUTO_FILE_BYTES = 64 << 10
"""What a file weighs besides its size under `auto`, so that thousands of tiny files still make many mini-batches."""


def output_name_and_format(name: str | None, format: Format | None) -> tuple[str, Format]:  # noqa: A002 (the option)
    """The prediction file's name and format, each from the other where it isn't given; csv where neither is.

    Raises UsageError where they contradict each other, or the name isn't a file's.
    """
    if name is None:
        kind = format or "csv"
        return f"predictions.{kind}", kind
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise UsageError(f"the output file name must be a name without folders, found {name!r}; -o gives the folder")
    if name.startswith((".", "_")) or name in RESERVED_NAMES:
        raise UsageError(f"the output file can't be named {name!r}: that name is taken or hidden")
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in OTHER_FORMATS and (suffix, format) != (".json", "jsonl"):
        raise UsageError(
            f"--output-file-name {name} means a format that isn't written; "
            f"let the name end in {', '.join(SUFFIXES)}, as what is written"
        )
    implied = SUFFIXES.get(suffix)
    if format and implied and implied != format:
        raise UsageError(f"--output-file-name {name} means {implied}, --format says {format}; drop one of them")
    return name, format or implied or "csv"


OTHER_FORMATS = (
    ".tsv", ".json", ".xls", ".xlsx", ".gz", ".zst", ".bz2", ".xz", ".zip", ".arrow", ".feather", ".orc", ".avro",
)  # fmt: skip
"""Suffixes that would promise what isn't in the file."""
RESERVED_NAMES = ("job.json", "failures.jsonl", "logs")
"""Names in OUTPUT that are not the prediction file's."""


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How CSV files are written; `.tsv` files take a tab whatever the delimiter is."""

    delimiter: str = ","
    encoding: str = "utf-8"
    missing_values: tuple[str, ...] = MISSING_VALUES
    header: bool = True

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0':
            raise UsageError(
                f"the delimiter must be one ASCII character other than a quote or a line end, not {self.delimiter!r}"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise UsageError(
                f"unknown encoding {self.encoding!r}; Python's names are taken, such as utf-8, latin-1, cp1252, utf-16"
            ) from None

    @classmethod
    def from_json(cls, record: Json) -> CsvOptions:
        return cls(**{**record, "missing_values": tuple(record["missing_values"])})


def parse_size(text: str) -> int | None:
    """The bytes of a size such as `64MB` (kb, mb, gb in any case, 1024-based); None for anything else, and for 0."""
    match = re.fullmatch(r"(\d+)\s*(kb|mb|gb)", text.strip().lower(), re.ASCII)
    return (int(match[1]) << {"kb": 10, "mb": 20, "gb": 30}[match[2]]) or None if match else None


@dataclass(frozen=True, slots=True)
class MiniBatchSize:
    """How inputs are cut: by a number of files, by bytes, or `auto` (by bytes, chosen from sizes alone)."""

    files: int | None = None
    bytes: int | None = None

    @classmethod
    def parse(cls, text: str | int) -> MiniBatchSize:
        """A number of files (`10`), a size (`64MB`; kb, mb, gb in any case, 1024-based) or `auto`.

        Raises UsageError for anything else, and for 0.
        """
        words = str(text).strip().lower()
        if words == "auto":
            return cls()
        if re.fullmatch(r"0*[1-9]\d*", words):
            return cls(files=int(words))
        if size := parse_size(words):
            return cls(bytes=size)
        raise UsageError(
            f"--mini-batch-size takes a number of files from 1, a size such as 64MB, or auto; found {text!r}"
        )

    def __str__(self) -> str:
        if self.files is not None:
            return str(self.files)
        return "auto" if self.bytes is None else f"{self.bytes // 1024}KB"


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """All that shapes a prediction beside the model and the inputs; goes to every worker as JSON."""

    rows_per_call: int = 65_536
    threads: int = 1
    predict_fn: str = "predict"
    params: Json = field(default_factory=dict)
    """Values of the model's params schema, as JSON."""
    rename: tuple[tuple[str, str], ...] = ()
    """(name in the file, name for the model)."""
    keep: tuple[str, ...] = ()
    """Input columns to repeat in the output, by their names in the file; ("*",) before planning means all."""
    keep_all: bool = False
    """keep is every column of the first file: a file with other columns is refused."""
    add: tuple[tuple[str, str], ...] = ()
    """(name, text) constants of the output."""
    csv: CsvOptions = CsvOptions()
    format: Format = "csv"
    layout: Layout = "table"
    calls_per_file: bool = False
    """No call of predict has rows of two files."""
    quarantines: bool = False
    """Rows that don't fit are put aside one by one; else the first one fails its file."""

    @property
    def writer(self) -> Writer:
        """What encodes the parts."""
        return "headerless" if self.layout == "azure" else self.format

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Json) -> ScoringSettings:
        return cls(
            **{
                **record,
                "rename": tuple((old, new) for old, new in record["rename"]),
                "keep": tuple(record["keep"]),
                "add": tuple((name, value) for name, value in record["add"]),
                "csv": CsvOptions.from_json(record["csv"]),
            }
        )
