"""Hostile files, made and judged: each is a function of a seed and a number, so that any can be made again.

A file that has rows has the same in one piece and in slices of any size, and as many as are counted; any other is
refused. What else is raised, and a process that dies, hangs or takes too much memory, is a fault.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from batchscore import readers
from batchscore.azure.deployments import read_deployment
from batchscore.environments import environment_of
from batchscore.errors import BatchscoreError, FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.modelfolder import read_model_folder
from batchscore.readers import source
from batchscore.schema import ColumnSpec, Schema, TensorSpec
from batchscore.settings import CsvOptions, ScoringSettings

End = Literal["read", "refused"]
Content = tuple[str, bytes]
"""A file's name and bytes."""

TABLE = Schema(columns=(ColumnSpec("a", "long", required=False), ColumnSpec("b", "string", required=False)))
TENSOR = Schema(tensors=(TensorSpec(None, "uint8", (-1, -1, -1, 3)),))
CSV = CsvOptions()


@dataclass(frozen=True)
class Kind:
    """A kind of input: what makes a file of it, and what reads it."""

    make: Callable[[random.Random], Content]
    check: Callable[[Path, random.Random], End]


Stage = Literal["parent", "worker"]
"""Who does in a job what is done now."""


def nobody(stage: Stage) -> None:
    del stage


@dataclass
class Watch:
    """Is told before each stage: a worker's process may die of a file, its parent's must not."""

    tell: Callable[[Stage], None] = nobody


WATCH = Watch()


def try_one(kind: str, seed: int, number: int, folder: Path) -> End:
    """Make a file and read it; raises whatever is wrong with that."""
    rng = random.Random(f"{seed} {kind} {number}")
    name, content = KINDS[kind].make(rng)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    WATCH.tell("parent")
    return KINDS[kind].check(path, rng)


# -- mutations ---------------------------------------------------------------------------------------------------------

BYTES = (b"\0", b"\xff", b"\x80", b"\x7f", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 8)


def mutated(content: bytes, rng: random.Random, words: tuple[bytes, ...], most: int = 8) -> bytes:
    """The content with a few bytes flipped, cut out, doubled, or replaced by words that mean something there."""
    data = bytearray(content)
    for _ in range(rng.randint(0, most)):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((0, 1, 1, 2, 5, 30)), len(data) - at)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.choice(words)
            case 2:
                data[at:at] = rng.choice(words)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 20))
            case _ if not rng.randrange(8):
                del data[at:]
    return bytes(data)


# -- CSV ---------------------------------------------------------------------------------------------------------------

CSV_WORDS = (
    b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\n\n", b'"\n', b'\n"', b',"', b'",', "é".encode(), "😀".encode(), b"\0",
    b"1", b"-7", b"1e3", b"NA", b" ", b"\t", b"a,b\n", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"9" * 30, b"x" * 300,
)  # fmt: skip


def make_csv(rng: random.Random) -> Content:
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, lineterminator=rng.choice(("\n", "\r\n", "\r")), quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    )
    writer.writerow(["a", "b"])
    words = ("x", "", "two words", 'say "so"', "a,b", "l1\nl2", "l1\r\nl2", "é", "日本", "\r", '"', "NA", "y" * 70)
    for _ in range(rng.randint(0, 12)):
        writer.writerow([rng.randint(-5, 1000), rng.choice(words)])
    content = mutated(text.getvalue().encode(), rng, CSV_WORDS, rng.choice((0, 1, 3, 8)))
    name = rng.choice(("x.csv",) * 8 + ("x.tsv", "x.csv.gz", "x.csv.zst"))
    return name, packed(name, content, rng)


def packed(name: str, content: bytes, rng: random.Random) -> bytes:
    """The content as its name says, damaged now and then."""
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    elif name.endswith(".zst"):
        content = bytes(pa.compress(content, codec="zstd", asbytes=True))
    else:
        return content
    return content if rng.randrange(3) else mutated(content, rng, BYTES, 2)


def check_csv(path: Path, rng: random.Random) -> End:
    """As of any table; what is read are the records that Python's csv module finds."""
    schema = rng.choice((TABLE, TABLE, TABLE, None))
    end, rows = check_table(path, schema, rng)
    content = path.read_bytes()
    if end == "read" and schema and path.name == "x.csv" and is_utf8(content):
        text = content.decode("utf-8-sig")
        records = [record for record in csv.reader(io.StringIO(text, newline="")) if record][1:]
        kept = [json.loads(row)[1] for row in rows]
        column = [name.strip() for name in next(csv.reader(io.StringIO(text.lstrip("\r\n"), newline="")))].index("b")
        assert kept == [record[column] or None for record in records], "not the records of the csv module"
    return end


def is_utf8(content: bytes) -> bool:
    """Whether all of it can be decoded; a column that isn't asked for may be anything."""
    return content.decode("utf-8", "ignore").encode() == content


# -- tables of any format ----------------------------------------------------------------------------------------------


def check_table(path: Path, schema: Schema | None, rng: random.Random) -> tuple[End, list[str]]:
    """Whole and in slices the same rows, as many as are counted, or the same refusal."""
    file = InputFile(path.name, str(path), path.stat().st_size, "1")
    source.BLOCK_BYTES = 1 << 20
    WATCH.tell("parent")
    with contextlib.suppress(FileRefused):
        readers.columns(file, CSV, schema)
    try:
        count = readers.count_rows(file, CSV)
    except FileRefused:
        count = None
    WATCH.tell("worker")
    whole = outcome((FileSlice(file),), schema)
    for size in (rng.randint(1, 20), rng.randint(1, 400)) if schema else ():
        check_cut(file, schema, size, whole, rng)
    source.BLOCK_BYTES = 1 << 20
    if not isinstance(whole, list):
        assert count is None or 0 <= count < 1 << 40, count
        return "refused", []
    assert count == len(whole), f"{count} counted"
    return "read", whole


def check_cut(file: InputFile, schema: Schema | None, size: int, whole: list[str] | tuple, rng: random.Random) -> None:
    """The same in slices; only which of several damages is told may differ."""
    source.BLOCK_BYTES = rng.choice((1, 3, 16, 100, 1 << 20))
    if source.is_compressed(file):  # never cut; damage is found when its block is read
        source.BLOCK_BYTES = 1 << 20
    WATCH.tell("parent")
    pieces = readers.cut(file, size, CSV)
    WATCH.tell("worker")
    assert pieces[0].first_row == 0
    assert all(piece.file is file for piece in pieces)
    cut = outcome(pieces, schema, rng.choice((1, 2, 7, 65_536)))
    assert cut == whole or is_damage(cut) or is_damage(whole), f"cut at {size}"
    if not (file.name.endswith(".parquet") and is_damage(cut)):  # pyarrow passes over some damage of later row groups
        assert isinstance(cut, list) == isinstance(whole, list), f"cut at {size}"


def is_damage(refusal: list[str] | tuple) -> bool:
    """Whether a refusal is of bytes that can't be decoded, which is told when they are read: before values or after."""
    return isinstance(refusal, tuple) and "can't be read" in refusal[0]


def outcome(pieces: tuple[FileSlice, ...], schema: Schema | None, rows_per_call: int = 65_536) -> list[str] | tuple:
    """Number, kept text and features of each row, as text; or what the first refusal tells."""
    settings = ScoringSettings(rows_per_call=rows_per_call, keep=("b",) if schema is TABLE else ())
    rows: list[str] = []
    try:
        for piece in pieces:
            for chunk in readers.read(piece, schema, settings):
                assert chunk.rows <= rows_per_call or schema is None
                rows += rows_of(chunk, len(rows), is_whole=len(pieces) == 1)
    except FileRefused as refused:
        return refused.reason, refused.row, refused.column, refused.value, refused.record
    return rows


def rows_of(chunk: readers.Chunk, before: int, *, is_whole: bool) -> list[str]:
    assert chunk.first_row == before, f"row {chunk.first_row} after {before} rows (whole: {is_whole})"
    if not isinstance(chunk.features, pa.Table):
        return [str(before + number) for number in range(chunk.rows)]
    features = chunk.features.to_pylist() if chunk.features.num_columns else [{}] * chunk.rows
    kept = chunk.kept.column(0).to_pylist() if chunk.kept.num_columns else [None] * chunk.rows
    assert len(features) == len(kept) == chunk.rows
    return [
        json.dumps([before + number, kept[number], features[number]], default=repr, ensure_ascii=False)
        for number in range(chunk.rows)
    ]


# -- Parquet -----------------------------------------------------------------------------------------------------------


@cache
def parquet_bases() -> tuple[bytes, ...]:
    number = pa.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    tables = (
        {"a": number, "b": ["x", "y", None, "é"] * 2 + ["", "z"]},
        {"a": number.cast(pa.float64()), "b": pa.array(["x"] * 10).dictionary_encode()},
        {"a": number.cast(pa.int8()), "b": pa.array(["1"] * 10), "c": [[1, 2], None] * 5, "d": [{"e": 1}] * 10},
        {"a": number.cast(pa.string()), "b": pa.array([b"x"] * 10), "t": pa.array([0] * 10, pa.timestamp("ns"))},
    )
    found = []
    for table in tables:
        for codec, version, group in (
            ("none", "1.0", 10),
            ("snappy", "2.6", 4),
            ("zstd", "2.6", 3),
            ("gzip", "2.4", 1),
        ):
            sink = io.BytesIO()
            pq.write_table(
                pa.table(table), sink, compression=codec, version=version, row_group_size=group,
                data_page_version=rng_page(version), write_page_index=group == 4,
            )  # fmt: skip
            found.append(sink.getvalue())
    return tuple(found)


def rng_page(version: str) -> str:
    return "2.0" if version == "2.6" else "1.0"


def make_parquet(rng: random.Random) -> Content:
    """Damaged anywhere, in the footer alone, or in the pages alone."""
    content = rng.choice(parquet_bases())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    match rng.randrange(4):
        case 0:
            return "x.parquet", mutated(content, rng, BYTES, 4)
        case 1:
            pages = flipped(content[4:footer], rng)
            return "x.parquet", content[:4] + pages + content[footer:]
        case _:
            return "x.parquet", content[:footer] + flipped(content[footer:-8], rng) + content[-8:]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, none added or removed."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
    return bytes(data)


def check_parquet(path: Path, rng: random.Random) -> End:
    return check_table(path, rng.choice((TABLE, TABLE, None)), rng)[0]


# -- JSON --------------------------------------------------------------------------------------------------------------

JSON_WORDS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"NaN", b"1e400", b"-0", b"1.5", b"\\ud800", b"\\u0000",
    b'"a"', b'"b"', b'"data"', b'"columns"', b'"index"', b'"inputs"', b'"params"', b"{}", b"[]", b"\n", b"\r", b" ",
    b"[" * 100, b'{"a":' * 100, b"9" * 5000, b"\xff", b"\xef\xbb\xbf", "😀".encode(), b"\x1e",
)  # fmt: skip


def make_json(rng: random.Random) -> Content:
    rows = [{"a": rng.randint(-5, 9), "b": rng.choice(("x", None, "é", "1"))} for _ in range(rng.randint(0, 6))]
    frame = {"columns": ["a", "b"], "data": [list(row.values()) for row in rows]}
    columns = {"a": [row["a"] for row in rows], "b": [row["b"] for row in rows]}
    documents: tuple[Any, ...] = (
        rows, frame, columns, {"dataframe_split": frame}, {"dataframe_records": rows}, {"input_data": frame},
        {"inputs": columns}, {"instances": rows}, {"input_data": rows, "params": {}}, {"input_data": columns},
    )  # fmt: skip
    document = rng.choice(documents)
    text = json.dumps(document, ensure_ascii=bool(rng.randrange(2)), indent=rng.choice((None, 1)))
    return "x.json", mutated(text.encode(), rng, JSON_WORDS, rng.choice((0, 1, 3, 8)))


def make_lines(rng: random.Random) -> Content:
    rows = [{"a": rng.randint(-5, 9), "b": rng.choice(("x", None, "é", "1"))} for _ in range(rng.randint(0, 12))]
    lines = "".join(json.dumps(row) + rng.choice(("\n", "\n", "\r\n", "\n\n")) for row in rows)
    name = rng.choice(("x.jsonl",) * 4 + ("x.jsonl.gz", "x.jsonl.zst"))
    return name, packed(name, mutated(lines.encode(), rng, JSON_WORDS, rng.choice((0, 1, 3, 8))), rng)


def check_json(path: Path, rng: random.Random) -> End:
    readers.is_payload(str(path))
    return check_table(path, rng.choice((TABLE, TABLE, TENSOR, None)), rng)[0]


# -- images ------------------------------------------------------------------------------------------------------------


@cache
def image_bases() -> tuple[Content, ...]:
    from PIL import Image

    found = []
    for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("gif", "GIF"), ("bmp", "BMP"), ("tif", "TIFF")):
        for mode in ("RGB", "L", "P", "1", "RGBA", "I;16", "CMYK"):
            sink = io.BytesIO()
            try:
                Image.new(mode, (5, 4), 1).save(sink, kind)
            except (OSError, ValueError, KeyError):
                continue  # not every format has every mode
            found.append((f"x.{suffix}", sink.getvalue()))
    return tuple(found)


def make_image(rng: random.Random) -> Content:
    name, content = rng.choice(image_bases())
    return name, mutated(content, rng, BYTES)


def check_image(path: Path, rng: random.Random) -> End:
    return check_table(path, rng.choice((TENSOR, TENSOR, None)), rng)[0]


# -- YAML --------------------------------------------------------------------------------------------------------------

MLMODEL = """artifact_path: model
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    python_version: 3.11.4
signature:
  inputs: '[{"type": "double", "name": "x"}, {"type": "array", "items": {"type": "long"}, "name": "y"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]'
  params: '[{"name": "p", "type": "long", "default": 1, "shape": null}]'
utc_time_created: '2026-01-02 03:04:05'
"""
CONDA = """channels: [conda-forge]
dependencies:
- python=3.11.4
- pip<=24
- pip:
  - mlflow==3.0
  - scikit-learn==1.7.0 ; python_version > "3.8"
  - --extra-index-url https://host.example/simple
name: mlflow-env
"""
PYTHON_ENV = "python: 3.11.4\nbuild_dependencies: [pip==24, setuptools, wheel]\ndependencies: [-r requirements.txt]\n"
REQUIREMENTS = (
    "mlflow==3.0\nnumpy[extra]>=1.23,<3 # why\n./local\n--hash=sha256:abc\npandas @ https://host.example/p.whl\n"
)
DEPLOYMENT = """$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
name: plain
endpoint_name: an-endpoint
type: model
model:
  path: model
code_configuration: {code: code, scoring_script: score.py}
environment: {conda_file: conda.yaml, image: "mcr.example/x:1"}
compute: azureml:cluster
resources: {instance_count: 2}
settings:
  max_concurrency_per_instance: 2
  mini_batch_size: 10
  output_action: append_row
  output_file_name: predictions.csv
  retry_settings: {max_retries: 3, timeout: 300}
  error_threshold: -1
  logging_level: info
  environment_variables: {A: b, C: 1}
"""
YAMLS = {
    "MLmodel": MLMODEL, "conda.yaml": CONDA, "python_env.yaml": PYTHON_ENV, "requirements.txt": REQUIREMENTS,
    "deployment.yml": DEPLOYMENT,
}  # fmt: skip
YAML_WORDS = (
    b": ", b"- ", b"\n", b"  ", b"{", b"}", b"[", b"]", b"&a ", b"*a", b"<<: *a\n", b"? ", b"| ", b"> ", b"'", b'"',
    b"---\n",
    b"!!int ", b"!!int ''", b"!!bool maybe", b"!!float ", b"!!timestamp x", b"!!binary x", b"!!set ", b"!!omap ",
    b"!!python/object/apply:os.abort []", b"!x ", b"2026-99-99", b"0o9", b"0x", b"1_0", b".inf", b"9" * 5000,
    b"[" * 200,
    b"{a: " * 200, b"~", b"\t", b"%YAML 9.9\n", b"\0", b"\xff", b"\xe2\x80\xa8", b"../../../../etc/passwd",
    b"/dev/zero",
    b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", b"\\ud800", b"&a [*a]", b"-r requirements.txt\n", b"-e ..\n",
    b"://",
)  # fmt: skip


def make_yaml(rng: random.Random) -> Content:
    name = rng.choice(tuple(YAMLS))
    return f"model/{name}", mutated(YAMLS[name].encode(), rng, YAML_WORDS, rng.choice((1, 2, 4, 8)))


def check_yaml(path: Path, rng: random.Random) -> End:
    """The other files of the folder are as they should be."""
    del rng
    folder = path.parent
    for name, text in YAMLS.items():
        if name != path.name:
            (folder / name).write_text(text)
    if not (folder / "code").exists():
        (folder / "code").mkdir()
        (folder / "local").mkdir()
        (folder / "code/score.py").touch()
        (folder / "model").symlink_to(".")
    ends = set()
    for read in (
        lambda: read_model_folder(str(folder)),
        lambda: environment_of(str(folder)),
        lambda: read_deployment(str(folder / "deployment.yml")),
    ):
        try:
            read()
            ends.add("read")
        except BatchscoreError:
            ends.add("refused")
    return "refused" if "refused" in ends else "read"


KINDS = {
    "csv": Kind(make_csv, check_csv),
    "parquet": Kind(make_parquet, check_parquet),
    "json": Kind(make_json, check_json),
    "jsonl": Kind(make_lines, check_json),
    "image": Kind(make_image, check_image),
    "yaml": Kind(make_yaml, check_yaml),
}
