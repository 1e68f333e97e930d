"""Full disks, outputs that may only be read, and inputs that change or stop in the middle; and going on afterwards."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import quick
import small_disk
from killable import command_of
from soak_kills import real_recipe

from batchscore import runner
from batchscore.errors import StorageError
from batchscore.journal import Journal
from batchscore.minibatch import FAILURES
from batchscore.outcome import Outcome, Scored
from batchscore.runner import run_job
from batchscore.storage import Ready, commit, storage_errors
from batchscore.workspace import Workspace


def may_mount() -> bool:
    """Whether this machine lets a user have a file system of his own (user name spaces)."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=100k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def on_small_disks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a command on disks of these sizes (KB)."""
    if not may_mount():
        pytest.skip("no file system of a small size can be made here (user name spaces)")

    def play(place: Path, command: list[str], sizes: list[int]) -> list[dict[str, Any]]:
        program = [sys.executable, small_disk.__file__, str(place), json.dumps(command), json.dumps(sizes)]
        done = subprocess.run(["unshare", "-rm", *program], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return play


def test_a_full_disk_ends_the_job_with_nothing_half_written_and_the_same_command_goes_on(
    tmp_path: Path, on_small_disks: Any
) -> None:
    """About 90 KB of parts and as much of predictions: the disk is full anywhere from the logs to job.json."""
    quick.write(tmp_path, **{f"f{n}": " ".join(str(n * 1000 + x) for x in range(500)) for n in range(12)})
    small_disk.run(command_of(tmp_path, output=str(tmp_path / "undisturbed")))
    whole = (tmp_path / "undisturbed/predictions.csv").read_text()
    full = set()
    for found in on_small_disks(tmp_path / "out", command_of(tmp_path), [8, 24, 32, 60, 160, 260, 280, 288, 320]):
        if found["code"]:
            full.add(assert_nothing_is_half_written(found, whole))
        assert found["then"] == 0, found["more"]
        assert found["result"]["predictions.csv"] == whole
        assert not any(name.startswith(".batchscore") for name in found["result"])
    assert {"logs", "part", "predictions.csv"} <= full


def assert_nothing_is_half_written(found: dict[str, Any], whole: str) -> str:
    """What a job that a full disk has ended leaves, and says; what it couldn't write."""
    assert found["code"] == 4, found["said"]
    assert "No space left on device" in found["said"]
    assert "Traceback" not in found["said"]
    names = {name for name in found["found"] if not name.startswith((".batchscore/", "logs/"))}
    assert names <= {"job.json", "predictions.csv"}
    assert found["found"].get("predictions.csv", whole) == whole
    if "job.json" in names:
        assert json.loads(found["found"]["job.json"])["status"] == "Failed"
    what = re.search(r"can't write (?:to )?(?:\S*/)?([\w.-]+)", found["said"])
    assert what, found["said"]
    return "part" if re.match(r"\d{6}-", what[1]) else what[1]


def test_a_disk_that_is_full_for_the_journal(tmp_path: Path, on_small_disks: Any) -> None:
    """Receipts of failures take place where parts without rows take none."""
    quick.write(tmp_path, good="1", **{f"f{n:03d}": "oops" for n in range(150)})
    command = command_of(tmp_path, error_threshold=-1)
    small_disk.run(command_of(tmp_path, error_threshold=-1, output=str(tmp_path / "undisturbed")))
    whole = (tmp_path / "undisturbed/predictions.csv").read_text()
    failures = (tmp_path / "undisturbed/failures.jsonl").read_text()
    full = set()
    for found in on_small_disks(tmp_path / "out", command, [76, 88, 100]):
        full.add(assert_nothing_is_half_written(found, whole))
        assert found["then"] == 0, found["more"]
        assert (found["result"]["predictions.csv"], found["result"]["failures.jsonl"]) == (whole, failures)
    assert "journal.jsonl" in full or "the" in full


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_full_disk_with_a_real_model(tmp_path: Path, on_small_disks: Any, form: str) -> None:
    """Parts and prediction files of both kinds are written by pyarrow and by us."""
    recipe = real_recipe(tmp_path, form, "one")
    assert small_disk.run(recipe.command(str(tmp_path / "undisturbed")))[0] == 0
    name = f"predictions.{form}"
    whole = (tmp_path / "undisturbed" / name).read_text("latin-1")
    for found in on_small_disks(tmp_path / "out", recipe.command(str(tmp_path / "out")), [120]):
        assert found["code"] == 4, found["said"]
        assert "No space left on device" in found["said"]
        assert name not in found["found"]
        assert found["then"] == 0, found["more"]
        assert found["result"][name] == whole


@pytest.mark.parametrize(
    ("full", "work_dir", "disk"),
    [
        ("batchscore.sharing.sync_file", None, "OUTPUT {}/out"),
        ("batchscore.sharing.sync_file", "work", "the work directory {}/work"),
        ("batchscore.storage.local.sync_file", "work", "the work directory {}/work"),
        ("batchscore.storage.places.commit", "work", "OUTPUT {}/out"),
    ],
)
def test_a_full_disk_is_told_by_the_name_that_the_user_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str, work_dir: str | None, disk: str
) -> None:
    """Whatever lies there; in job.json, too, where there is room for that."""

    def refuses(place: str, *ready: Ready) -> None:
        if ready and ready[0].name == "job.json":
            return commit(place, *ready)
        with storage_errors(f"can't write {place}/{ready[0].name}") if ready else contextlib.nullcontext():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    quick.write(tmp_path, a="1", b="2")
    quick.use(monkeypatch)
    monkeypatch.setattr(full, refuses)
    with pytest.raises(StorageError) as caught:
        run_job(quick.job(tmp_path, workers=2, work_dir=work_dir and str(tmp_path / work_dir)))
    remedy = f"; make room on the disk of {disk.format(tmp_path)}, and run the same command again"
    assert str(caught.value).endswith(f"No space left on device{remedy}")
    assert json.loads((tmp_path / "out/job.json").read_text())["message"] == str(caught.value)


def test_a_full_disk_is_told_when_the_output_is_entered_and_no_other_disk_is_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    other = StorageError(f"can't keep environments in /elsewhere: {full.strerror}")
    workspace = Workspace(str(tmp_path / "out"))
    workspace.explain(other)
    assert str(other).endswith("No space left on device")
    monkeypatch.setattr(Workspace, "_acquire", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(StorageError, match=f"device; make room on the disk of OUTPUT {tmp_path}/out"), workspace:
        pass


def test_an_output_that_may_only_be_read(tmp_path: Path, on_small_disks: Any) -> None:
    quick.write(tmp_path, a="1 2", b="3")
    (found,) = on_small_disks(tmp_path / "out", command_of(tmp_path), [0])
    assert found["code"] == 4
    assert "Read-only file system" in found["said"]
    assert found["found"] == {}
    assert found["then"] == 0, found["more"]
    assert found["finished"] == 0  # and may only be read again


# Inputs: a.csv, b.csv, which is cut into several mini-batches, and c.csv; something happens to b after the planning


def vanishes(path: Path) -> None:
    path.unlink()


def shrinks(path: Path) -> None:
    os.truncate(path, 9)


def loses_its_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def is_rewritten(path: Path) -> None:
    """With as many bytes."""
    path.write_bytes(path.read_bytes().replace(b"3", b"7"))


def may_not_be_read(path: Path) -> None:
    path.chmod(0)


def becomes_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


TROUBLES = {
    vanishes: "No such file",
    shrinks: "",
    loses_its_end: "changed while it was scored, from 20,002 to 19,997 bytes",
    is_rewritten: "was written again while it was scored; run the same command again",
    may_not_be_read: "Permission denied",
    becomes_a_folder: "",
}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, rows in (("a", 20), ("b", 4000), ("c", 20)):
        (folder / f"{name}.csv").write_text("x\n" + "".join(f"{x}\n" for x in range(3000, 3000 + rows)))
    return folder


@contextlib.contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Be a user who may not read everything, as root may; the folder is his."""
    if user := os.geteuid():
        yield
        return
    modes = {path: path.stat().st_mode for path in folder.parents if not path.stat().st_mode & 0o001}
    for path in modes:
        path.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, -1)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.mark.parametrize("happens", TROUBLES, ids=lambda happens: happens.__name__)
def test_an_input_that_changes_between_planning_and_reading_fails_alone_and_is_scored_once_it_is_back(
    happens: Callable[[Path], None], inputs: Path, tmp_path: Path, run_here: Any, doubling: Path, monkeypatch: Any
) -> None:
    settings = {"params": {"answer": "v * 2"}, "mini_batch_size": "4KB"}
    run_here(doubling, inputs, tmp_path / "undisturbed", **settings)
    file = inputs / "b.csv"
    content, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    planned = runner._score

    def troubled(*given: Any) -> None:
        happens(file)
        planned(*given)

    with monkeypatch.context() as patched, contextlib.ExitStack() as stack:
        patched.setattr(runner, "_score", troubled)
        if happens is may_not_be_read:
            stack.enter_context(as_nobody(tmp_path))  # after a run that has imported what is needed
        summary = run_here(doubling, inputs, tmp_path / "out", **settings)
    assert (summary.status, summary.counts.files_failed, summary.counts.rows_scored) == ("Failed", 1, 40)
    (failure,) = summary.failures().to_dict("records")
    assert failure["file"] == "b.csv"
    assert TROUBLES[happens] in failure["reason"], failure["reason"]
    assert sorted(os.listdir(tmp_path / "out")) == [".batchscore", "failures.jsonl", "job.json", "logs"]
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    file.write_bytes(content)
    os.utime(file, ns=times)
    assert run_here(doubling, inputs, tmp_path / "out", **settings).status == "Completed"
    expected = (tmp_path / "undisturbed/predictions.csv").read_bytes()
    assert (tmp_path / "out/predictions.csv").read_bytes() == expected


def cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(("x\n" + "1\n" * 5000).encode())[:-20])


def cut_parquet(path: Path) -> None:
    pq.write_table(pa.table({"x": [float(x) for x in range(5000)]}), path, row_group_size=500)
    os.truncate(path, path.stat().st_size // 2)


def holed_parquet(path: Path) -> None:
    """Its end is there, and not what lies before."""
    pq.write_table(pa.table({"x": [float(x) for x in range(50_000)]}), path, row_group_size=5000, compression="zstd")
    with path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\0" * 100_000)


def reads_with_an_error(path: Path) -> None:
    """/proc/self/mem has nothing at its beginning, which is an I/O error."""
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("name", "makes"),
    [("b.csv.gz", cut_gzip), ("b.parquet", cut_parquet), ("b.parquet", holed_parquet), ("b.csv", reads_with_an_error)],
)
def test_a_file_that_stops_in_the_middle_fails_alone_and_its_repair_is_scored(
    name: str, makes: Callable[[Path], None], tmp_path: Path, run_here: Any, doubling: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for each in "ac":
        (folder / f"{each}.csv").write_text("x\n1\n2\n")
    makes(folder / name)
    settings = {"params": {"answer": "v * 2"}}
    summary = run_here(doubling, folder, tmp_path / "out", **settings)
    assert (summary.status, summary.counts.rows_scored) == ("Failed", 4), summary.message
    assert summary.failures()["file"].tolist() == [name]
    assert "Traceback" not in summary.failures()["reason"][0]
    (folder / name).unlink()
    (folder / "b.csv").write_text("x\n7\n")
    assert run_here(doubling, folder, tmp_path / "out", **settings).counts.rows_scored == 5


@pytest.fixture
def doubling(answering: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(answering(), tmp_path / "model"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What is synced to the disk ("sync"), renamed to ("from", "to") and removed ("remove"), in order, as paths.

    And the names of the parts that receipts speak of ("receipt"), when these are written.
    """
    found: list[tuple[str, str]] = []
    is_on = True
    real = os.fsync

    def sync(descriptor: int) -> None:
        found.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        real(descriptor)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on and event == "os.rename":
            found.extend([("from", str(arguments[0])), ("to", str(arguments[1]))])
        elif is_on and event == "os.remove":
            found.append(("remove", str(arguments[0])))

    write_receipt = Journal.record

    def record(self: Journal, outcome: Outcome) -> int:
        found.extend(("receipt", entry.part) for entry in outcome.slices if isinstance(entry, Scored))
        return write_receipt(self, outcome)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Journal, "record", record)
    sys.addaudithook(listen)
    yield found
    is_on = False


@pytest.mark.parametrize(
    ("form", "output_files", "workers"), [("csv", "one", 1), ("csv", "one", 2), ("parquet", "mirror", 2)]
)
def test_what_a_name_stands_for_is_on_the_disk_before_anything_speaks_of_it(
    form: str, output_files: str, workers: int, inputs: Path, tmp_path: Path, run_here: Any, doubling: Path, steps: Any
) -> None:
    """So that a power cut loses no more than what is scored again."""
    (inputs / "deep/er").mkdir(parents=True)
    (inputs / "c.csv").rename(inputs / "deep/er/c.csv")
    out = tmp_path / "out"
    steps.clear()
    settings = {"format": form, "output_files": output_files, "workers": workers, "mini_batch_size": 1}
    run_here(doubling, inputs, out, params={"answer": "v"}, **settings)
    places = {step: place for place, step in reversed(list(enumerate(steps)))}  # the first of each
    moved = [(one[1], other[1]) for one, other in pairwise(steps) if one[0] == "from"]
    for source, target in moved:
        if workers > 1 and "/.batchscore/parts/" in target:  # it counts once a receipt speaks of it
            assert places["sync", target] < places["receipt", Path(target).name]
        elif not target.endswith(("inputs.jsonl", "run.json", "probe")):  # which may be lost
            assert places["sync", source] < places["from", source], target
    names = [target.removeprefix(f"{out}/") for _, target in moved]
    assert sum(name.startswith(".batchscore/parts/") for name in names) >= 1
    assert names[-1] == "job.json"
    last = places["to", str(out / "job.json")]
    for name in names:
        if name.startswith("predictions"):
            folder = out / name
            while folder != out:
                folder = folder.parent
                synced = [n for n, step in enumerate(steps) if step == ("sync", str(folder))]
                assert any(places["to", str(out / name)] < n < last for n in synced), (name, folder)
    journal = str(out / ".batchscore/journal.jsonl")
    assert places["sync", str(out / ".batchscore")] > places["to", journal]
    assert any(step == ("sync", journal) for step in steps)
    removed = [n for n, step in enumerate(steps) if step[0] == "remove" and step[1].endswith("journal.jsonl")]
    assert any(last < n < removed[-1] for n, step in enumerate(steps) if step == ("sync", str(out)))


def test_a_part_that_a_receipt_speaks_of_already_is_on_the_disk_before_it_has_its_name(
    inputs: Path, tmp_path: Path, run_here: Any, doubling: Path, steps: Any
) -> None:
    """Else a power cut would leave the receipt of an earlier run beside half a part."""
    out = tmp_path / "out"
    (inputs / "bad.csv").write_text("y\n1\n")  # so that the job fails and its work stays
    settings = {"params": {"answer": "v"}, "mini_batch_size": 1, "workers": 2}
    assert run_here(doubling, inputs, out, **settings).status == "Failed"
    lost = sorted((out / ".batchscore/parts").glob("*.csv"))
    assert len(lost) > 1, "one that is left would be a single worker's"
    for part in lost:
        part.unlink()
    steps.clear()
    run_here(doubling, inputs, out, **settings)
    for part in lost:
        source = next(one[1] for one, other in pairwise(steps) if other == ("to", str(part)))
        assert steps.index(("sync", source)) < steps.index(("from", source))


def test_rows_put_aside_are_on_the_disk_before_a_receipt_speaks_of_them(
    inputs: Path, tmp_path: Path, run_here: Any, doubling: Path, steps: Any
) -> None:
    """Their worker sees to it, though who publishes syncs the parts of several workers."""
    for name in ("a", "c"):
        with (inputs / f"{name}.csv").open("a") as stream:
            stream.write("oops\n")
    settings = {"params": {"answer": "v"}, "mini_batch_size": 1, "workers": 2, "on_bad_row": "quarantine"}
    assert run_here(doubling, inputs, tmp_path / "out", **settings).counts.rows_failed == 2
    moved = [(one[1], other[1]) for one, other in pairwise(steps) if one[0] == "from"]
    asides = [source for source, target in moved if target.endswith(FAILURES)]
    assert len(asides) == 2
    for source in asides:
        assert steps.index(("sync", source)) < steps.index(("from", source))
