"""Input that was made to do harm: a corpus, and mutations of good files (more of them by `make soak`)."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import fuzzing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soak

from batchscore import readers
from batchscore.azure.deployments import read_deployment
from batchscore.environments import environment_of
from batchscore.errors import FileRefused, UsageError
from batchscore.inputs import Selection, list_inputs
from batchscore.minibatch import FileSlice, InputFile
from batchscore.modelfolder import read_model_folder
from batchscore.readers import csv_header, jsonl, source
from batchscore.settings import CsvOptions, ScoringSettings

CSV = CsvOptions()
INPUTS = int(os.environ.get("FUZZED_INPUTS", "250"))
"""Of each kind."""


@pytest.mark.parametrize("kind", list(fuzzing.KINDS))
def test_mutated_files_are_read_whole_and_in_slices_alike_or_refused(kind: str) -> None:
    """In processes with bounded time and memory; the fault names the seed and the number that repeat it."""
    seed = 1 if "CI" in os.environ else random.randrange(1 << 32)
    (tally,) = soak.fuzz(seed, INPUTS, 1.0, [kind], 1).values()
    assert not tally.faults
    assert sum(tally.ends.values()) == INPUTS
    assert tally.ends["read"] > INPUTS // 50
    assert tally.ends["refused"] > INPUTS // 50


@pytest.mark.parametrize("fault", ["raises", "hangs", "dies", "grows"])
def test_what_goes_wrong_while_fuzzing_is_found(fault: str, tmp_path: Path) -> None:
    """A reader that is broken on purpose."""
    broken = {
        "raises": "raise KeyError('broken')",
        "hangs": "__import__('time').sleep(9)",
        "dies": "os.abort()",
        "grows": "bytearray(b'x') * (600 << 20)",
    }[fault]
    script = tmp_path / "soak.py"
    text = Path(soak.__file__).read_text().replace("ROOT = Path(__file__)", f"ROOT = Path({soak.__file__!r})")
    if fault == "hangs":
        text = text.replace("HANG_SECONDS = 30", "HANG_SECONDS = 1")
    text = text.replace("MOST_BYTES = 1 << 30", "MOST_BYTES = 500 << 20")
    text = text.replace("import fuzzing", f"import fuzzing\nfuzzing.readers.columns = lambda *_: {_call(broken)}")
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, script, "fuzz", "--kind", "csv", "--inputs", "4", "--seed", "5", "--jobs", "1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    words = {"raises": "KeyError: 'broken'", "hangs": "Timeout", "dies": "died (-6)", "grows": "MB of memory"}[fault]
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout
    assert "--seed 5 --kind csv --number 0" in done.stdout or fault == "grows"


def _call(statement: str) -> str:
    return f"exec({statement!r}, {{'os': __import__('os'), **globals()}})"


# -- tables ------------------------------------------------------------------------------------------------------------


def file_of(path: Path, content: bytes) -> InputFile:
    path.write_bytes(content)
    return InputFile(path.name, str(path), len(content), "1")


def refusal(file: InputFile) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        list(readers.read(FileSlice(file), fuzzing.TABLE, ScoringSettings()))
    return caught.value


def parquet(path: Path, table: dict[str, object], **options: object) -> InputFile:
    pq.write_table(pa.table(table), path, **options)
    return InputFile(path.name, str(path), path.stat().st_size, "1")


def test_parquet_whose_pages_end_before_its_rows_do_is_refused(tmp_path: Path) -> None:
    """pyarrow gives the rows that there are, and says nothing: the others would be lost."""
    files = [
        parquet(tmp_path / f"{rows}.parquet", {"a": range(rows), "b": ["x"] * rows}, compression="none")
        for rows in (60, 50)
    ]
    long, short = (Path(file.path).read_bytes() for file in files)
    number = bytes([0x16, 120])  # 60 in Thrift, an i64
    assert number in long
    lying = short.replace(bytes([0x16, 100]), number)
    assert readers.count_rows(file_of(tmp_path / "x.parquet", lying), CSV) == 60
    with pytest.raises(FileRefused, match="states 60 rows here, and has 50"):
        list(readers.read(FileSlice(file_of(tmp_path / "x.parquet", lying)), fuzzing.TABLE, ScoringSettings()))


def test_footers_that_contradict_themselves_count_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that fails then counts as one with 0 rows, not as one with a billion."""
    file = parquet(tmp_path / "x.parquet", {"a": [1, 2], "b": ["x", "y"]}, row_group_size=1)
    assert readers.count_rows(file, CSV) == 2
    from batchscore.readers import parquet_footer

    monkeypatch.setattr(parquet_footer, "row_groups_of", lambda parquet: [parquet.metadata.row_group(0)])
    with pytest.raises(FileRefused, match="states 2 rows, and 1 in its row groups"):
        readers.count_rows(file, CSV)


def test_text_in_parquet_that_is_no_utf8_is_refused_with_its_row(tmp_path: Path) -> None:
    """It would raise in the middle of the model's call, and be tried again."""
    broken = pa.array([b"fine", b"caf\xe9", b"x"]).view(pa.string())
    refused = refusal(parquet(tmp_path / "x.parquet", {"a": [1, 2, 3], "b": broken}))
    assert (refused.row, refused.column, refused.value) == (1, "b", "caf\\xe9")


def test_parquet_footers_are_weighed_without_what_ends_the_process(tmp_path: Path) -> None:
    """Statistics of columns that contradict the schema make pyarrow call abort(), in the parent all would be lost."""
    for number in range(3):
        kind, seed = "parquet", 2
        soak.run_batch(kind, seed, 1500 + number * 20, 20, tally := soak.Tally())
        assert not tally.faults
    folder = Path(readers.__file__).parent
    text = "".join((folder / name).read_text() for name in ("parquet.py", "parquet_footer.py"))
    assert "row_group(" in text
    assert ".column(" not in text


def test_a_header_of_endless_columns_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """Packed to a few KB; pyarrow would take 8 GB for a million columns."""
    file = file_of(tmp_path / "x.csv.gz", gzip.compress(b"," * csv_header.MAX_COLUMNS * 20 + b"\n1\n"))
    assert file.size < 10_000
    with pytest.raises(FileRefused, match="more than 100,000 columns"):
        readers.columns(file, CSV, fuzzing.TABLE)
    assert len(refusal(file).record or "") <= 1000


@pytest.mark.parametrize("block", [4, 1 << 20])
def test_a_byte_order_mark_within_a_csv_is_data_wherever_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Files that were appended to each other have some; pyarrow leaves out one at the beginning of what it parses."""
    file = file_of(tmp_path / "x.csv", "\ufeffa,b\n1,x\n\ufeff2,y\n3,z\n".encode())
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    for rows_per_call in (1, 2, 100):
        with pytest.raises(FileRefused) as caught:
            list(readers.read(FileSlice(file), fuzzing.TABLE, ScoringSettings(rows_per_call=rows_per_call)))
        assert (caught.value.row, caught.value.value) == (1, "\ufeff2")


def test_rows_with_keys_of_their_own_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_KEYS", 100)
    lines = "".join(json.dumps({f"k{number}": 1}) + "\n" for number in range(102))
    with pytest.raises(FileRefused, match="more than 100 keys"):
        readers.columns(file_of(tmp_path / "x.jsonl", lines.encode()), CSV, fuzzing.TABLE)


# -- YAML --------------------------------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
YAMLS = {
    "aliases": (BOMB, "once its aliases"),
    "merges": (MERGES, "aliases|merge keys"),
    "circle": ("a: &a\n  b: *a\n", "aliases"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000, "deep"),
    "tag": ("a: !!python/object/apply:os.abort []\n", "tag|could not determine"),
    "truth": ("a: !!bool maybe\n", "YAML"),
    "number": ("a: " + "9" * 5000 + "\n", "YAML"),
    "date": ("a: 2026-99-99\n", "YAML"),
    "empty number": ("a: !!int ''\n", "YAML"),
    "stamp": ("a: !!timestamp x\n", "YAML"),
}


@pytest.mark.parametrize("case", YAMLS)
@pytest.mark.parametrize("name", ["MLmodel", "conda.yaml", "deployment.yml"])
def test_yaml_that_grows_or_states_what_it_is_not_is_refused(tmp_path: Path, name: str, case: str) -> None:
    text, words = YAMLS[case]
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {}}\n")
    (tmp_path / name).write_text(text)
    read = {
        "MLmodel": read_model_folder,
        "conda.yaml": environment_of,
        "deployment.yml": lambda _: deployment(tmp_path),
    }
    with pytest.raises(UsageError, match=words):
        read[name](str(tmp_path))


def deployment(folder: Path) -> object:
    return read_deployment(str(folder / "deployment.yml"))


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_devices_and_pipes_are_no_environment_files(tmp_path: Path, place: str) -> None:
    """Nothing waits for them, and they don't fill the memory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {}}\n")
    (tmp_path / "requirements.txt").write_text(f"-r {place}\n")
    with pytest.raises(UsageError, match="a device or a pipe"):
        environment_of(str(tmp_path))
    (tmp_path / "requirements.txt").write_text("numpy\n" * (4 << 20))
    with pytest.raises(UsageError, match="more than 16 MB"):
        environment_of(str(tmp_path))


@pytest.mark.parametrize("name", ["../x.csv", "/tmp/x.csv", "a/b.csv", "..", ""])
def test_no_output_file_name_leads_out_of_output(tmp_path: Path, name: str) -> None:
    """Neither a deployment's nor a --set's."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/score.py").touch()
    (tmp_path / "conda.yaml").write_text(fuzzing.CONDA)
    (tmp_path / "deployment.yml").write_text(fuzzing.DEPLOYMENT.replace("predictions.csv", json.dumps(name)))
    with pytest.raises(UsageError, match=r"deployment\.yml:\d+: settings\.output_file_name"):
        deployment(tmp_path)
    (tmp_path / "deployment.yml").write_text(fuzzing.DEPLOYMENT)
    with pytest.raises(UsageError, match="--set output_file_name"):
        read_deployment(str(tmp_path / "deployment.yml"), overrides=[("output_file_name", name)])


# -- names and links ---------------------------------------------------------------------------------------------------


def names_of(*inputs: object) -> list[str]:
    return [file.name for file in list_inputs(tuple(map(str, inputs)), Selection("/nowhere")).files]


def test_names_lie_below_their_input(tmp_path: Path) -> None:
    """With --output-files mirror, `..` in a name would be a place outside of OUTPUT."""
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "x.csv").touch()
    for pattern in ("in/*/../../*.csv", "in/../*.csv", "in/a/../../*"):
        assert not [name for name in names_of(tmp_path / pattern) if ".." in name]


def test_a_maze_of_links_is_refused(tmp_path: Path) -> None:
    """Forty levels with two links each are 2^40 paths to the same file."""
    for level in range(40):
        (tmp_path / f"in/{level}").mkdir(parents=True)
        for way in "ab":
            (tmp_path / f"in/{level}/{way}").symlink_to(tmp_path / f"in/{level + 1}")
    (tmp_path / "in/40").mkdir()
    with pytest.raises(UsageError, match="links lead to .* ways"):
        names_of(tmp_path / "in")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--\x1b]0;own\x07ed"],
        ["run", "-m", "none", "-i", "in", "-o", "out", "--workers", "\x1b[31m"],
        ["run", "-m", "\x1b[31m\u202e", "-i", "in", "-o", "out"],
        ["run", "-m", "none", "-o", "out", "x\x9b31m"],
        ["show", "out", "b\x1b]0;own\x07ed"],
    ],
    ids=ascii,
)
def test_a_command_made_of_hostile_names_writes_no_control_characters(run_batchscore, words: list[str]) -> None:
    """A shell's glob turns names of files into words of a command, options among them."""
    result = run_batchscore(*words)
    assert result.returncode == 2
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.stdout + result.stderr)
