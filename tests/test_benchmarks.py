"""The benchmark: it measures whole process trees, compares predictions, and its document shows its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from benchmarks import __main__ as commands
from benchmarks import agreeing, making, report
from benchmarks.cases import CASES, Dataset
from benchmarks.contenders import BATCHSCORE, LIMIT, PEERS
from benchmarks.environments import HERE, Unavailable, python_of
from benchmarks.measuring import Failed, measure

MEGABYTES = 1 << 20
BUSY = "import time\nwhile time.process_time() < 0.3: pass"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What a tiny run of three contenders saved, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    command = ["--quick", "--only", "trivial-csv", "--contenders", "batchscore,limit,loop"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--folder", folder, "--rounds", "1", "--no-memory", *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "runs" / "results.json").read_text()), done.stdout


def test_contenders_are_measured_and_agree(results):
    saved, printed = results
    case = saved["cases"]["trivial-csv"]
    assert case["rows"] == 30_000
    assert list(case["contenders"]) == ["batchscore", "limit", "loop"]
    for name, found in case["contenders"].items():
        assert "excuse" not in found, f"{name}: {found['excuse']}"
        assert found["cpu"]["median"] > 0
        assert set(found["ratios"]) == {"batchscore", "limit"}
        assert name in printed
    assert case["contenders"]["limit"]["ratios"]["limit"] == {"wall": 1.0, "cpu": 1.0}


def test_results_say_where_they_come_from(results):
    machine = results[0]["cases"]["trivial-csv"]["machine"]
    assert {"date", "cores", "cpu", "memory_gb", "system", "load", "versions", "commit"} <= set(machine)
    assert "pyarrow" in machine["versions"]


def test_all_processes_of_a_command_count(tmp_path):
    """Also one that the command leaves behind."""
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}])"
    assert measure([sys.executable, "-c", orphan], dict(os.environ), tmp_path).cpu >= 0.3


def test_memory_is_summed_over_processes(tmp_path):
    holding = "held = bytearray(80 << 20); print(flush=True)"
    inner = f"import sys; {holding}; sys.stdin.read()"
    pipes = "stdin=subprocess.PIPE, stdout=subprocess.PIPE"
    start = f"other = subprocess.Popen([sys.executable, '-c', {inner!r}], {pipes}); other.stdout.readline()"
    both = f"import subprocess, sys, time; {start}; {holding}; time.sleep(1.5); other.communicate()"
    found = measure([sys.executable, "-c", both], dict(os.environ), tmp_path, memory=True)
    assert 160 * MEGABYTES <= found.pss <= found.rss < 260 * MEGABYTES
    assert 80 * MEGABYTES <= found.first_rss < 130 * MEGABYTES


def test_a_command_that_fails_is_told_with_what_it_printed(tmp_path):
    with pytest.raises(Failed, match=r"exit code 3:\nout of luck"):
        measure([sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"], dict(os.environ), tmp_path)


def test_predictions_are_compared_in_order_where_one_is_kept():
    expected = np.array([1.0, 2.0, 3.0])
    agreeing.check(expected[::-1], expected, tolerance=0, keeps_order=False)
    agreeing.check(expected + 1e-13, expected, tolerance=1e-12, keeps_order=True)
    with pytest.raises(agreeing.Disagreement, match="2 of 3 predictions differ, the first in row 0"):
        agreeing.check(expected[::-1], expected, tolerance=0, keeps_order=True)
    with pytest.raises(agreeing.Disagreement, match="2 predictions, expected 3"):
        agreeing.check(expected[:2], expected, tolerance=0, keeps_order=False)
    with pytest.raises(agreeing.Disagreement, match="1 of 3"):
        agreeing.check(np.array([1.0, np.nan, 3.0]), expected, tolerance=1e-12, keeps_order=True)


def test_predictions_are_read_from_whatever_was_written(tmp_path):
    (tmp_path / "part-1.csv").write_text("file,prediction\na,1.5\n")
    (tmp_path / "part-2.json").write_text('{"predictions": [{"prediction": 2.5}]}')
    (tmp_path / "job.json").write_text("{}")
    assert agreeing.predictions(tmp_path).tolist() == [1.5, 2.5]


def test_what_the_document_has_of_this_commit_is_not_measured_again(tmp_path, monkeypatch):
    """A case counts as done where all contenders that take it were in it."""

    def found(commit, *contenders):
        return {"machine": {"commit": commit}, "contenders": {name: {} for name in contenders}}

    saved = {
        "cases": {
            "trivial-csv": found("new", "batchscore", "limit"),
            "big-csv": found("new", "batchscore"),
            "big-parquet": found("old", "batchscore", "limit"),
        },
        "figures": {"help": {"machine": {"commit": "new"}}},
    }
    (tmp_path / "results.json").write_text(json.dumps(saved))
    monkeypatch.setattr(commands, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(commands.machine, "facts", lambda _: {"commit": "new"})
    wanted = commands.Wanted([], commands._kept([BATCHSCORE, LIMIT], ""))
    assert [wanted.has("cases", name) for name in saved["cases"]] == [False, True, True]
    assert not wanted.has("figures", "help")
    assert commands.Wanted(["many"], {}).has("figures", "many")
    assert not commands.Wanted(["many"], {}).has("figures", "help")


@pytest.mark.parametrize(("form", "packing"), [("csv", ""), ("csv", "gz"), ("parquet", ""), ("parquet", "group")])
def test_big_files_are_made_as_their_name_says(form, packing, tmp_path):
    dataset = Dataset(form, 1, 200_001, packing=packing)
    assert Dataset.named(dataset.name) == dataset
    making.make_dataset(tmp_path, dataset)
    [path] = (path for path in dataset.path(tmp_path).rglob("*") if path.is_file())
    assert path.name.endswith(dataset.suffix)
    if form == "parquet":
        footer = pq.read_metadata(path)
        assert (footer.num_rows, footer.num_row_groups) == (200_001, 1 if packing else 3)
    else:
        assert pacsv.read_csv(path).num_rows == 200_001


def test_figures_show_how_memory_grows_and_how_busy_workers_are():
    run = {"label": "1 GB", "rows": 5, "pss": 100 << 20, "first_rss": 40 << 20, "wall": 2.0, "cpu": 3.0}
    run |= {"running": 2.0, "busy": 0.98, "tail": 0.012}
    figure = {"title": "one file", "runs": [run, {**run, "label": "10 GB", "pss": 105 << 20}]}
    help_figure = {"title": "--help", "runs": [{"label": "", "wall": 0.1, "cpu": 0.09}]}
    lines = report._figures_markdown([figure, help_figure]).splitlines()
    assert lines[3] == "| one file | 10 GB | 5 | 105 | 1.05 | 40 | 2.00 | 3.00 | 1.50 | 2 | 98.0% | 1.2% |"
    assert len({line.count("|") for line in lines}) == 1


def test_threads_at_work_are_counted_in_all_processes(tmp_path):
    busy = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])\n{busy}"
    found = measure([sys.executable, "-c", start], dict(os.environ), tmp_path, memory=True)
    assert found.running == 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_name_of_a_data_set_says_all_of_it(case):
    assert Dataset.named(case.dataset.name) == case.dataset
    assert case.smaller().dataset.rows <= case.dataset.rows


def test_a_tool_that_cannot_be_installed_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(Unavailable):
        python_of("plot", tmp_path, lambda _: None)


def test_every_tool_has_its_pins_and_its_script():
    for each in PEERS:
        assert (HERE / f"{each.environment}.txt").exists()
        assert (ROOT / "benchmarks" / "contenders" / each.script).exists()


def test_the_document_shows_the_saved_results():
    document = (ROOT / "docs" / "performance.md").read_text()
    saved = json.loads((ROOT / "docs" / "performance.json").read_text())
    assert report.inserted(document, saved) == document


def test_new_results_replace_their_own_alone(tmp_path):
    kept = tmp_path / "results.json"
    kept.write_text(json.dumps({"cases": {"one": 1, "two": 2}, "figures": {"help": 3}}))
    merged = report.merged(kept, {"cases": {"two": 4}})
    assert merged == {"cases": {"one": 1, "two": 4}, "figures": {"help": 3}}
