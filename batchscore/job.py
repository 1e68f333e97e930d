"""What is asked for: a Job as the user states it, and the ScoringSettings that every worker is given."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from batchscore.deployment import Deployment, LoggingLevel, OutputAction
from batchscore.errors import UsageError
from batchscore.limits import Limit, Share
from batchscore.minibatch import Json
from batchscore.redaction import concealed

Format = Literal["csv", "parquet", "jsonl"]
OutputFiles = Literal["one", "parts", "mirror"]
EnvManager = Literal["local", "uv"]
Layout = Literal["table", "azure"]
OnBadRow = Literal["fail", "quarantine"]
WorkerStart = Literal["auto", "loader", "each"]

FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")
SUFFIXES: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".pqt": "parquet", ".jsonl": "jsonl"}
Writer = Literal["csv", "parquet", "jsonl", "headerless"]
"""What encodes the parts: a format, or layout azure's CSV without a header."""
LAYOUTS: tuple[Layout, ...] = ("table", "azure")
OUTPUT_ACTIONS: tuple[OutputAction, ...] = get_args(OutputAction)
ON_BAD_ROW: tuple[OnBadRow, ...] = ("fail", "quarantine")
OUTPUT_FILES: tuple[OutputFiles, ...] = ("one", "parts", "mirror")
LOGGING_LEVELS: tuple[LoggingLevel, ...] = get_args(LoggingLevel)
ENV_MANAGERS: tuple[EnvManager, ...] = ("local", "uv")
WORKER_STARTS: tuple[WorkerStart, ...] = ("auto", "loader", "each")

_CHOICES: dict[str, tuple[str, ...]] = {
    "layout": LAYOUTS, "format": FORMATS, "output_files": OUTPUT_FILES, "output_action": OUTPUT_ACTIONS,
    "env_manager": ENV_MANAGERS, "logging_level": LOGGING_LEVELS, "on_bad_row": ON_BAD_ROW,
    "worker_start": WORKER_STARTS,
}  # fmt: skip

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


def parse_memory_limit(text: str | int | None) -> int | None:
    """Bytes that a worker may hold, from a size such as `4GB`; None for none. Raises UsageError for anything else."""
    if text is None:
        return None
    size = parse_size(str(text))
    if size is None:
        raise UsageError(f"memory_limit takes a size such as 800MB or 4GB; found {text!r}")
    return size


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
            f"mini_batch_size takes a number of files from 1, a size such as 64MB, or auto; found {text!r}"
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


@dataclass(frozen=True, slots=True)
class Script:
    """A scoring script: its folder, which goes on the import path, and its file below it."""

    code: str
    scoring_script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the user states it; every field has the command line's meaning and default."""

    model: str
    inputs: tuple[str, ...]
    output: str
    work_dir: str | None = None
    """Where the work in progress lies; None: in OUTPUT."""
    workers: int | None = None
    """None: one for each core, at most one for each mini-batch."""
    mini_batch_size: MiniBatchSize = MiniBatchSize()
    rows_per_call: int | None = None
    """None: min(65,536, 128 MB / row width)."""
    threads_per_worker: int = 1
    worker_start: WorkerStart = "auto"
    """`loader`: workers are forked from a process that has loaded the model; `each` loads it; `auto`: as is safe."""
    timeout: float = 600.0
    """Seconds for each chunk, or for each mini-batch where `times_mini_batches`."""
    times_mini_batches: bool = False
    """The clock doesn't restart when a chunk is done."""
    timeout_name: str = "--timeout"
    """The setting that a message tells to change."""
    warns_beyond: float | None = None
    """Seconds beyond which Azure would have stopped a mini-batch; those that took longer are counted, and told of."""
    max_retries: int = 3
    """Attempts after the first."""
    memory_limit: int | None = None
    """Bytes that a worker and its children may have resident; one that holds more is killed. None: no limit."""
    recycle_after: int | None = None
    """Mini-batches that a worker scores before another takes its place; None: as many as there are."""
    grace: float = 20.0
    """Seconds that mini-batches in flight have to finish when a signal stops the job."""
    error_threshold: Limit = 0
    """Failed files that the job may have, or their share; -1: any number."""
    on_bad_row: OnBadRow = "fail"
    """What becomes of a row that doesn't fit the signature, or that predict fails for: its file fails, or it alone."""
    max_bad_rows: Limit | None = None
    """Rows put aside that the job may have, or their share; None: any number."""
    fail_fast: bool = False
    layout: Layout = "table"
    format: Format = "csv"
    output_file_name: str = "predictions.csv"
    output_action: OutputAction = "append_row"
    output_files: OutputFiles = "one"
    keep: tuple[str, ...] = ()
    """("*",) keeps all."""
    add: tuple[tuple[str, str], ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    predict_fn: str = "predict"
    params: tuple[tuple[str, str], ...] = ()
    """(name, text), as on the command line."""
    csv: CsvOptions = CsvOptions()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    """Score only the first rows, in input order."""
    model_digest: str | None = None
    """`sha256:…` that the model must have, or none of its code runs."""
    env_manager: EnvManager = "local"
    """Who provides what the model needs: `local`, whoever did so for the interpreter; `uv`: an environment is built."""
    python: str | None = None
    """Interpreter of the workers; None: the running one, or that of the environment that is built."""
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Environment variables of the workers; may be secrets."""
    storage_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For the stores of inputs and model, (name, text); may be secrets."""
    allow_empty: bool = False
    overwrite: bool = False
    break_lock: bool = False
    """Take OUTPUT's lock from a process of another machine, which the user knows to be gone."""
    date: str | None = None
    """The day, in ISO form, that inputs, output and constants say where {date} was written; None where it wasn't."""
    predicts_whole_files: bool = False
    """One call of predict for each file, with all its rows unless rows_per_call says otherwise."""
    fails_unsupported: bool = False
    """Files of unsupported types are failed items, not skipped."""
    script: Script | None = None
    """Score by this script instead of the model's predict."""
    logging_level: LoggingLevel = "info"
    """Of Python's logging in the workers; debug: each step is logged and told, too."""
    deployment: Deployment | None = None
    """Where the settings come from, if a deployment's YAML was given."""
    notes: tuple[str, ...] = ()
    """What to tell the user once."""

    def __post_init__(self) -> None:
        if os.name == "nt":
            raise UsageError(
                "batchscore runs on Linux and macOS; on Windows use it in WSL (Windows Subsystem for Linux)"
            )
        least = {
            "workers": 1,
            "rows_per_call": 1,
            "threads_per_worker": 1,
            "max_retries": 0,
            "limit": 0,
            "memory_limit": 1,
            "recycle_after": 1,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < minimum):
                raise UsageError(f"{name} must be a whole number from {minimum}, found {value!r}")
        self._check_limits()
        for name, words in _CHOICES.items():
            if getattr(self, name) not in words:
                raise UsageError(f"{name} must be one of {', '.join(words)}; found {getattr(self, name)!r}")
        for name, seconds in (("timeout", self.timeout), ("warns_beyond", self.warns_beyond)):
            if seconds is not None and not seconds > 0:
                raise UsageError(f"{name} must be more than 0 seconds, found {seconds!r}")
        if not self.grace >= 0:
            raise UsageError(f"grace must be 0 seconds or more, found {self.grace!r}")
        _check_digest(self.model_digest)
        self._refuse_contradictions()
        if self.output_files != "one" and self.output_folder in RESERVED_NAMES:
            raise UsageError(
                f"the output files can't lie in a folder {self.output_folder!r}: that name is taken; "
                "choose another --output-file-name"
            )

    def _check_limits(self) -> None:
        for name, limit, lowest in (
            ("error_threshold", self.error_threshold, -1),
            ("max_bad_rows", self.max_bad_rows, 0),
        ):
            if not isinstance(limit, Share) and limit is not None and (not isinstance(limit, int) or limit < lowest):
                raise UsageError(f"{name} must be a whole number from {lowest} or a percentage, found {limit!r}")

    def _refuse_contradictions(self) -> None:
        if self.env_manager == "uv" and self.python:
            raise UsageError(
                "--env-manager uv has the workers run in the environment that it builds, --python in that of "
                f"{self.python}; drop one of them"
            )
        if self.output_action == "summary_only" and self.script is None:
            raise UsageError(
                "output_action summary_only leaves all output to a scoring script, and there is none; use append_row"
            )
        if self.layout == "azure" and (self.format != "csv" or self.keep or self.add):
            raise UsageError(
                "layout azure is CSV without a header and has row, predictions and file only; "
                "other formats, --keep and --add need --layout table"
            )
        if self.max_bad_rows is not None and self.on_bad_row != "quarantine":
            raise UsageError(
                "--max-bad-rows counts rows that --on-bad-row quarantine puts aside; add it, or drop this one"
            )
        self._check_script()

    def _check_script(self) -> None:
        """A scoring script reads its files itself: refuse what batchscore can't do for it."""
        if self.script is None:
            return
        if self.mini_batch_size.files is None:
            raise UsageError(
                f"a scoring script gets whole files: mini_batch_size is a number of files, found {self.mini_batch_size}"
            )
        if self.on_bad_row == "quarantine":
            raise UsageError(
                "--on-bad-row quarantine can't tell one row from another in what a scoring script reads by itself; "
                "drop it, or let the script leave bad rows out"
            )
        if self.output_files == "mirror":
            raise UsageError(
                "output_files mirror needs to know whose rows are whose, which a scoring script doesn't tell; "
                "the script can write a file for each input itself, with output_action summary_only"
            )
        names = ("keep", "add", "rename", "params", "limit", "rows_per_call")
        given = [name for name in names if getattr(self, name) not in ((), None)]
        given += ["predict_fn"] if self.predict_fn != "predict" else []
        if given:
            raise UsageError(f"{given[0]} has no effect on a scoring script, which reads and scores its files itself")

    @property
    def prediction_target(self) -> str:
        """The file or folder of the predictions in OUTPUT."""
        return self.output_file_name if self.output_files == "one" else self.output_folder

    @property
    def output_folder(self) -> str:
        """The folder of several prediction files: their common name without its suffix."""
        return self.output_file_name.rpartition(".")[0] or self.output_file_name

    def shaping(self) -> dict[str, Any]:
        """The settings that shape the output: with the model's digest, the job's identity for resuming."""
        return {
            "mini_batch_size": str(self.mini_batch_size),
            "rows_per_call": self.rows_per_call,
            "layout": self.layout,
            "format": self.format,
            "output_file_name": self.output_file_name,
            "output_files": self.output_files,
            "keep": list(self.keep),
            "add": [(name, concealed(value)) for name, value in self.add],
            "rename": list(self.rename),
            "predict_fn": self.predict_fn,
            "params": {name: concealed(value) for name, value in self.params},
            "csv": asdict(self.csv),
            "limit": self.limit,
            "predicts_whole_files": self.predicts_whole_files,
            "on_bad_row": self.on_bad_row,
            "output_action": self.output_action,
            "script": self.script.scoring_script if self.script else None,
        }


def _check_digest(given: str | None) -> None:
    if given is not None and not re.fullmatch("sha256:[0-9A-Fa-f]{64}", given):
        raise UsageError(
            f"the model's digest must be sha256: and 64 hexadecimal digits, found {given!r}; "
            "`batchscore validate` and job.json (model.digest) state it"
        )
