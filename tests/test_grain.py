"""How much finer mini-batches could be: what is advised is tried with the real cuts of real files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore.grain import Grain, grain_of
from batchscore.job import Job, Script
from batchscore.minibatch import InputFile, MiniBatch
from batchscore.settings import CsvOptions, MiniBatchSize
from batchscore.splitting import Cutting, split

MANY = 300_000
LINES = '{"x": 1}\n' * 9000


def parquet(rows: int, group: int) -> Callable[[Path], None]:
    return lambda path: pq.write_table(
        pa.table({"x": range(rows)}), path, row_group_size=group, use_dictionary=False, compression="none"
    )


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def packed(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(gzip.compress(content.encode())) and None


NUMBERS = "x\n" + "123456\n" * 60_000
GROUPS = ("a Parquet file is cut between row groups",)
QUOTES = "x\n" + 'a"b\n"c"\n' * 5000

CUT: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "a CSV": ("a.csv", text(NUMBERS), {}),
    "row groups": ("a.parquet", parquet(8000, 1000), {}),
    "a row group": ("a.parquet", parquet(MANY, MANY), {"size": "1gb"}),
    "row groups that a run of groups holds": ("a.parquet", parquet(8000, 1000), {"size": "32kb"}),
    "JSON Lines": ("a.jsonl", text(LINES), {}),
    "JSON Lines in slices": ("a.jsonl", text(LINES), {"size": "20kb"}),
    "a CSV in slices": ("a.csv", text(NUMBERS), {"size": "200kb"}),
}
UNCUT: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], tuple[str, ...]]] = {
    "a compressed CSV": ("a.csv.gz", packed(NUMBERS), {}, ("compressed files aren't cut",)),
    "a CSV without types": ("a.csv", text(NUMBERS), {"typed": False}, ("a CSV for a model without a signature",)),
    "both": ("a.csv.gz", packed(NUMBERS), {"typed": False}, ("compressed", "a CSV for a model without a signature")),
    "a CSV of two bytes a letter": (
        "a.csv", lambda path: path.write_text(NUMBERS, "utf-16") and None, {"csv": CsvOptions(encoding="utf-16")},
        ("a CSV in utf-16 isn't cut",),
    ),
    "a limit": ("a.csv", text(NUMBERS), {"limit": 50_000}, ("a file that --limit ends in",)),
    "a limit in Parquet": ("a.parquet", parquet(8000, 1000), {"limit": 500}, ("a file that --limit ends in",)),
    "quotes": ("a.csv", text(QUOTES), {}, ("a CSV isn't cut where its quotes",)),
    "a row group": ("a.parquet", parquet(MANY, MANY), {"size": "1kb"}, GROUPS),
    "a row group of few rows": ("a.parquet", parquet(60_000, 60_000), {}, GROUPS),
    "small row groups": ("a.parquet", parquet(6 << 17, 1 << 17), {"size": "1kb"}, GROUPS),
    "row groups one by one": ("a.parquet", parquet(8000, 1000), {"size": "1kb"}, GROUPS),
    "JSON Lines, compressed": ("a.jsonl.gz", packed(LINES), {}, ("compressed files aren't cut",)),
    "JSON Lines without types": ("a.jsonl", text(LINES), {"typed": False}, ("a JSON Lines file for a model without",)),
    "JSON": ("a.json", text('{"inputs": [1, 2]}'), {}, ("a JSON file isn't cut",)),
    "a CSV of a few bytes": ("a.csv", text("x\n1\n2\n"), {}, ()),
    "a CSV of one long record": (
        "a.csv", text("x\n" + 9000 * "1" + "\n"), {"size": "1kb"}, ("a CSV isn't cut where its quotes",),
    ),
    "an image": ("a.png", text("no look is taken"), {}, ()),
}  # fmt: skip
SMALLEST = "1kb"


class Case:
    """A job of one file."""

    def __init__(self, folder: Path, name: str, write: Callable[[Path], None], options: dict[str, Any]) -> None:
        path = folder / name
        write(path)
        self.files = (InputFile(name, str(path), path.stat().st_size, "1"),)
        more = {key: value for key, value in options.items() if key not in {"size", "typed"}}
        size = MiniBatchSize.parse(options.get("size", "auto"))
        self.job = Job(model="m", inputs=("in",), output="out", mini_batch_size=size, **more)
        self.has_signature = options.get("typed", True)

    def plan(self, size: MiniBatchSize | None = None) -> tuple[MiniBatch, ...]:
        cutting = Cutting(size or self.job.mini_batch_size, self.job.csv, self.has_signature, self.job.limit)
        return tuple(split(self.files, cutting))

    def grain(self, *which: int) -> Grain:
        plan = self.plan()
        chosen = [plan[number] for number in which] or plan
        return grain_of(chosen, self.files, self.job, has_signature=self.has_signature)


@pytest.mark.parametrize("name", CUT)
def test_a_smaller_size_is_advised_where_it_makes_more_mini_batches(tmp_path: Path, name: str) -> None:
    case = Case(tmp_path, *CUT[name])
    assert case.grain() == Grain("a smaller --mini-batch-size")
    assert len(case.plan(MiniBatchSize.parse(SMALLEST))) > len(case.plan())


@pytest.mark.parametrize("name", UNCUT)
def test_what_no_size_cuts_is_told_from_it(tmp_path: Path, name: str) -> None:
    file_name, write, options, obstacles = UNCUT[name]
    case = Case(tmp_path, file_name, write, options)
    found = case.grain()
    assert not found.remedy
    assert all(told.startswith(begin) for told, begin in zip(found.obstacles, obstacles, strict=True)), found
    assert len(case.plan(MiniBatchSize.parse(SMALLEST))) == len(case.plan())


@pytest.mark.parametrize("whole_files", [False, True])
def test_files_by_number_are_cut_by_bytes(tmp_path: Path, whole_files: bool) -> None:  # noqa: FBT001
    """With the example that is given."""
    case = Case(tmp_path, "a.csv", text(NUMBERS), {"size": "1", "predicts_whole_files": whole_files})
    parts = " (predict gets parts of them then)" if whole_files else ""
    assert case.grain() == Grain(f"a --mini-batch-size in bytes, such as 102kb, which cuts files{parts}")
    assert len(case.plan(MiniBatchSize.parse("102kb"))) == 4


def test_the_example_is_in_megabytes_where_a_file_is_large(tmp_path: Path) -> None:
    case = Case(tmp_path, "a.csv", text("x\n" + "1234567\n" * (1 << 20)), {"size": "1"})
    assert "such as 2MB," in case.grain().remedy


def test_files_that_share_a_mini_batch_are_told_without_a_look(tmp_path: Path) -> None:
    """Also where they are a scoring script's, which gets them by number."""
    files = tuple(InputFile(f"{name}.json.gz", f"/nowhere/{name}.json.gz", 10, "1") for name in "ab")
    job = Job(
        model="m", inputs=("in",), output="out", mini_batch_size=MiniBatchSize(files=2), script=Script("code", "s.py")
    )
    together = split(files, Cutting(job.mini_batch_size, job.csv, cuts_csv=True))
    assert grain_of(together, files, job, has_signature=True) == Grain("a smaller --mini-batch-size")
    apart = split(files, Cutting(MiniBatchSize(files=1), job.csv, cuts_csv=True))
    found = grain_of(apart, files, job, has_signature=True)
    assert found == Grain(obstacles=("a scoring script gets whole files: more, smaller ones would be shared out",))


def test_one_that_can_be_cut_is_enough(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one = Case(tmp_path, "a.csv.gz", packed(NUMBERS), {})
    other = Case(tmp_path / "b", "b.csv", text(NUMBERS), {})
    both = (*one.files, *other.files)
    plan = split(both, Cutting(MiniBatchSize(files=1), one.job.csv, cuts_csv=True))
    assert grain_of(plan, both, one.job, has_signature=True) == Grain("a smaller --mini-batch-size")


def test_a_file_that_is_gone_by_now_gives_no_advice_and_no_error(tmp_path: Path) -> None:
    for case in (Case(tmp_path, "a.parquet", parquet(8000, 1000), {}), Case(tmp_path, "a.csv", text(NUMBERS), {})):
        plan = case.plan()
        Path(case.files[0].path).unlink()
        assert not grain_of(plan, case.files, case.job, has_signature=True).remedy


def test_a_server_that_gives_whole_files_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tmp_path, "a.csv", text(NUMBERS), {})
    monkeypatch.setattr("batchscore.grain.can_be_cut", lambda _: False)
    [told] = case.grain().obstacles
    assert told.startswith("the server gives files as a whole only")


def test_pieces_and_runs_of_row_groups_are_looked_at_each(tmp_path: Path) -> None:
    """Of three groups two make two pieces each."""
    case = Case(tmp_path, "a.parquet", parquet(MANY, 131_072), {"size": "1kb"})
    assert len(case.plan()) == 5
    assert all(case.grain(number).obstacles for number in range(5))


def test_of_some_slices_a_file_makes_no_more(tmp_path: Path) -> None:
    """A large group alone, then a run of small ones."""
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema({"x": pa.int64()}), use_dictionary=False, compression="none") as writer:
        for rows in (50_000, *[1000] * 10):
            writer.write_table(pa.table({"x": range(rows)}))
    case = Case(tmp_path, "a.parquet", lambda _: None, {"size": "100kb"})
    assert len(case.plan()) == 2
    assert case.grain(0).obstacles
    assert case.grain(1).remedy
