"""Flat memory: a worker holds the model and one chunk, the parent a few words for each mini-batch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SaveModel

from batchscore import readers, writers
from batchscore.journal import Header, Journal
from batchscore.minibatch import FileSlice, InputFile, MiniBatch, compact
from batchscore.outcome import Failed, Failure, Outcome, Quarantined, Scored
from batchscore.plan import Plan
from batchscore.receipts import Receipts
from batchscore.schema import ColumnSpec, Schema
from batchscore.segments import Segment
from batchscore.settings import ScoringSettings
from batchscore.writers.arrow_file import batches

DOUBLED = """
import mlflow.pyfunc
from mlflow.models import set_model

class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["x"] * 2).rename("twice")

set_model(Doubled())
"""
WHOLE_JOB = """
import re, sys
from pathlib import Path
from here import HereSlots
import batchscore.runner
batchscore.runner.Slots = HereSlots
model, folder, form, *sizes = sys.argv[1:]
for size in sizes:
    summary = batchscore.run(
        model, f"{folder}/{size}.{form}", f"{folder}/out-{form}-{size}",
        mini_batch_size="1GB", rows_per_call=2_000,
    )
    assert summary.status == "Completed", summary.message
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
ALL_BUT_SCORING = """
import re, sys
from pathlib import Path
from types import SimpleNamespace
import batchscore.runner
from batchscore.inputs import Selection, list_inputs
from batchscore.job import Job
from batchscore.journal import Header, Journal
from batchscore.outcome import Column, Outcome, Scored
from batchscore.publishing import merged, output_files
from batchscore.receipts import Receipts
from batchscore.resuming import remaining, write_inputs
from batchscore.settings import CsvOptions, MiniBatchSize
from batchscore.splitting import Cutting, split
from batchscore.summary import Verdicts

place, *folders = sys.argv[1:]
columns = (Column("prediction", "double", "prediction"),)
for folder in folders:
    job = Job(model="m", inputs=(folder,), output=place)
    listing = list_inputs((folder,), Selection("/nowhere"))
    write_inputs(SimpleNamespace(folder=place, share=str), listing)
    plan = split(listing.files, Cutting(MiniBatchSize(files=1), CsvOptions(), True))
    with Journal(f"{place}/journal.jsonl", Header("job", {}, "m", "m", 1, (), (), ()), is_new=True) as journal:
        receipts = Receipts(plan, journal)
        for batch in remaining(receipts, (), job):
            entries = (Scored(piece, 1, f"{batch.part_name}.csv", 0, 9) for piece in batch.slices)
            receipts.record(Outcome(batch.number, tuple(entries), columns))
        verdicts = Verdicts(receipts)
        (file,) = output_files(job, verdicts)
        print(sum(1 for _ in merged(file.segments)), listing.folders, receipts.files_failed)
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
SMALL, BIG = 100_000, 1_000_000
"""Rows."""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_big_file_takes_no_more_memory_than_a_small_one(
    form: str, tmp_path: Path, save_model: SaveModel, clean_environment: Mapping[str, str]
) -> None:
    """One mini-batch, read, scored, written and joined in one process, whose peak is what the longest of them took."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec
    from mlflow.types import Schema as Columns

    for rows in (SMALL, BIG):
        x = np.random.default_rng(rows).random(rows)
        table = pa.table({"x": x, "y": x + 1, "z": x + 2})
        if form == "csv":
            pacsv.write_csv(table, tmp_path / f"{rows}.csv")
        else:
            pq.write_table(table, tmp_path / f"{rows}.parquet", use_dictionary=False)  # one row group
    size = (tmp_path / f"{BIG}.{form}").stat().st_size
    model = save_model(DOUBLED, ModelSignature(Columns([ColSpec("double", "x")])))
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_JOB, model, tmp_path, form, str(SMALL), str(BIG)],
        env={**clean_environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    small, big = (int(kilobytes) << 10 for kilobytes in done.stdout.split())
    assert big - small < size / 2, f"{(big - small) >> 20} MB more for a file of {size >> 20} MB"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a place where files cost nothing")
def test_the_job_s_own_process_is_no_larger_with_many_files_and_mini_batches() -> None:
    """Listed, planned, journaled and gone through for publishing; a file more is allowed 200 bytes."""
    few, many = 10_000, 60_000
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        for number in (few, many):
            Path(place, str(number)).mkdir()
            for each in range(number):
                os.mknod(f"{place}/{number}/{each:06d}.csv")
        done = subprocess.run(
            [sys.executable, "-c", ALL_BUT_SCORING, place, f"{place}/{few}", f"{place}/{many}"],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    of_few, small, of_many, big = done.stdout.splitlines()
    assert (of_few, of_many) == (f"{few} 1 0", f"{many} 1 0")
    assert int(big) - int(small) < (many - few) * 200 / 1024
    assert int(big) < 120 << 10


def test_the_columns_of_a_row_group_are_read_a_little_at_a_time(tmp_path: Path) -> None:
    """Wide files have many: what is held of each beside the batch at hand is a buffer of 256 KB and a page."""
    columns, rows = 40, 100_000
    names = [f"x{number}" for number in range(columns)]
    values = np.random.default_rng(0).random((columns, rows))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(list(values), names=names), path, use_dictionary=False, data_page_size=1 << 15)
    file = InputFile("x.parquet", str(path), path.stat().st_size, "1")
    schema = Schema(tuple(ColumnSpec(name, "double") for name in names))
    before, held, found = pa.total_allocated_bytes(), 0, 0
    for chunk in readers.read(FileSlice(file), schema, ScoringSettings(rows_per_call=1_000)):
        found += chunk.rows
        held = max(held, pa.total_allocated_bytes() - before)
    assert found == rows
    assert held < columns * (450 << 10), f"{held >> 10} KB"


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident of files is read from /proc")
def test_a_part_that_is_joined_does_not_stay_in_memory(tmp_path: Path) -> None:
    """The batches of a part are read one after the other, and none of its pages is mapped."""
    path = str(tmp_path / "part")
    with writers.open_part("parquet", path, {}) as part:
        for number in range(32):
            part.write(pa.table({"x": np.random.default_rng(number).random(65_536)}))
    size, before, held = Path(path).stat().st_size, _mapped(), 0
    for batch in batches(path):
        assert batch.num_rows == 65_536
        held = max(held, _mapped() - before)
    assert held < size / 4, f"{held >> 20} MB of a part of {size >> 20} MB"


def _mapped() -> int:
    """Bytes of files that are resident in this process."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def test_what_the_parent_knows_of_a_mini_batch_is_small_whatever_became_of_it(tmp_path: Path) -> None:
    """Long reasons and rows that are put aside stay on the disk."""
    many = 2_000
    slices = [FileSlice(InputFile(f"{number:04d}.csv", f"/in/{number:04d}.csv", 1, "1")) for number in range(many)]
    plan = [MiniBatch(number, (piece,)) for number, piece in enumerate(slices)]
    header = Header("job", {}, "m", "m", 1, (), (), ())
    with Journal(str(tmp_path / "journal.jsonl"), header, is_new=True) as journal:
        receipts = Receipts(Plan(batch.slices for batch in plan), journal)
        tracemalloc.start()
        for number, piece in enumerate(slices):
            failure = Failure(piece.file.name, f"{number}: " + "x" * 10_000, detail="y" * 10_000, record="z" * 10_000)
            aside = Quarantined(5_000, f"{number}.failures.jsonl", 0, 1 << 20)
            entry = Failed(piece, failure) if number % 2 else Scored(piece, 9, f"{number}.csv", 0, 9, aside)
            receipts.record(Outcome(number, (entry,)))
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert held < many * 1_000


def test_a_hundred_thousand_receipts_take_a_hundred_bytes_each(tmp_path: Path) -> None:
    """Beyond the slices' own, as the parent has them when they come over the wire; a tenth of them is enough to see."""
    many = 10_000
    plan = [
        MiniBatch(each, (FileSlice(InputFile(f"{each:04d}.csv", f"/in/{each:04d}.csv", 1, "1")),))
        for each in range(many)
    ]
    header = Header("job", {}, "m", "m", 1, (), (), ())
    with Journal(str(tmp_path / "journal.jsonl"), header, is_new=True) as journal:
        receipts = Receipts(Plan(batch.slices for batch in plan), journal)
        tracemalloc.start()
        for batch in plan:
            entry = Scored(batch.slices[0], 10_000, f"{batch.part_name}.csv", 0, 300_000)
            receipts.record(Outcome.from_json(json.loads(compact(Outcome(batch.number, (entry,)).to_json()))))
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        kept = [receipts.of(piece) for batch in plan for piece in batch.slices]
    assert [found.part.name for found in kept if isinstance(found, Segment) and found.part] == [
        f"{batch.part_name}.csv" for batch in plan
    ]
    assert held < many * 120
