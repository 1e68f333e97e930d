"""OUTPUT on a store: the outputs, going on elsewhere, faults, the lock."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import quick
from killable import Killable
from stores import S3, Shop
from uploaded import here, outputs, puts, receipts, settings_of, wait_until

from batchscore import publishing, runner
from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.runner import run_job
from batchscore.showing import look
from batchscore.storage import Access, StorePlace, filesystem_of
from batchscore.storage.blocks import NEW
from batchscore.storage.gs_objects import GsObjects
from batchscore.storage.objects import put_file, put_if, put_object
from batchscore.storelock import StoreLock
from batchscore.storeworkspace import workspace_of

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of `quick` with three files, and a cache of its own for the work."""
    quick.write(tmp_path, a="1 2", b="", c="3.5")
    quick.use(monkeypatch)
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("output_files", ["one", "parts", "mirror"])
def test_outputs_are_those_of_a_local_job(shop: Shop, folder: Path, output_files: Any) -> None:
    run_job(quick.job(folder, output_files=output_files))
    summary = run_job(quick.job(folder, output_files=output_files, output=f"{shop.url}/out"))
    assert summary.status == "Completed"
    content = shop.content()
    assert outputs(content) == here(folder)
    there, local = json.loads(content["out/job.json"]), json.loads((folder / "out/job.json").read_text())
    assert there["outputs"] == local["outputs"]
    assert b"Completed" in content["out/logs/job_result.txt"]
    assert not list((folder / "cache").glob("work/*"))
    assert not shop.server.uploads(shop.place)


def test_many_outputs_are_looked_at_and_replaced_by_listing_their_folder(shop: Shop, folder: Path) -> None:
    """What a second run asks for doesn't grow with the number of outputs."""
    quick.write(folder, **{f"f{number:02}": "1" for number in range(40)})
    job = quick.job(folder, output_files="mirror", output=f"{shop.url}/out")
    run_job(job)
    shop.plan.set("")
    assert not run_job(job).is_fresh
    assert len(shop.plan.requests) < 40
    shop.delete("out/predictions/f07.csv.csv")
    shop.put("out/predictions/f08.csv.csv", b"changed")
    for number in range(3, 40):
        (folder / f"in/f{number:02}.csv").unlink()
    shop.plan.set("")
    assert run_job(replace(job, overwrite=True)).status == "Completed"
    looked = [path for method, path, _ in shop.plan.requests if method == "HEAD" and "predictions/" in path]
    assert len(looked) < 10
    run_job(quick.job(folder, output_files="mirror"))
    assert outputs(shop.content()) == here(folder)


# Going on elsewhere


@pytest.fixture
def killed(shop: Shop, folder: Path) -> Path:
    """A job of six files, killed when all but the last were scored, whose machine is gone with all that lay there."""
    quick.write(folder, **{f"f{number}": f"{number} 7" for number in range(5)}, last="99")
    (folder / "faults").mkdir()
    (folder / "faults/99").write_text("wait")
    run = Killable(folder, **settings_of(shop, folder))
    wait_until(lambda: receipts(shop) == 8)
    run.process.kill()
    run.end()
    shutil.rmtree(folder / "cache")
    (folder / "faults/99").unlink()
    (folder / "calls").unlink()
    return folder


def test_a_job_whose_machine_is_gone_is_finished_elsewhere(shop: Shop, killed: Path, tmp_path: Path) -> None:
    """Each row once, the bytes of an undisturbed job, and nothing is scored twice that had a receipt."""
    code, out, err = Killable(killed, **settings_of(shop, killed, work_dir=str(tmp_path / "elsewhere"))).end()
    assert (code, out) == (0, "Completed: 14 of 14 rows from 9 files scored, to predictions.csv\n"), err
    assert (killed / "calls").read_text() == "1\n"
    run_job(quick.job(killed, output=str(tmp_path / "undisturbed")))
    assert outputs(shop.content()) == here(tmp_path, "undisturbed")
    assert not list(tmp_path.glob("elsewhere/*"))


def test_what_is_here_of_an_older_run_and_another_ones_parts_are_not_mixed(shop: Shop, killed: Path) -> None:
    """Parts that lie here are taken where they are those that were uploaded, byte for byte."""
    work = killed / "cache/work"
    with workspace_of(quick.job(killed, output=f"{shop.url}/out")) as workspace:
        names = sorted(workspace.part_names())
        for name in names:
            workspace.part(name)
        spoilt, gone = Path(workspace.parts, names[0]), Path(workspace.parts, names[1])
        spoilt.write_bytes(spoilt.read_bytes()[::-1])
        gone.unlink()
        Path(workspace.parts, "000099-strange.csv").write_text("x")
        journal = Path(workspace.journal)
    journal.write_bytes(journal.read_bytes()[:-200])
    assert work.is_dir()
    run_job(quick.job(killed, output=f"{shop.url}/out"))
    run_job(quick.job(killed))
    assert outputs(shop.content()) == here(killed)


def test_a_part_that_went_from_the_store_is_scored_again(shop: Shop, killed: Path) -> None:
    name = next(name for name in shop.content() if "/parts/" in name)
    shop.delete(name)
    summary = run_job(quick.job(killed, output=f"{shop.url}/out"))
    assert (summary.status, summary.counts.rows_scored) == ("Completed", 14)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"at": 1, "parts": [], "outcomes": 2}'])
def test_a_receipt_that_is_none_is_named(shop: Shop, folder: Path, text: str) -> None:
    quick.write(folder, d="oops")
    job = quick.job(folder, output=f"{shop.url}/out")
    assert run_job(job).status == "Failed"
    shop.put(next(name for name in shop.content() if "/receipts/" in name), text.encode())
    with pytest.raises(StorageError, match=r"out/\.batchscore/\w+ is not of this version of batchscore; remove"):
        run_job(job)


def test_another_job_takes_what_was_begun_away(shop: Shop, killed: Path) -> None:
    with pytest.raises(UsageError, match="holds another job, an unfinished job"):
        run_job(quick.job(killed, output=f"{shop.url}/out", limit=3))
    assert receipts(shop) == 8
    run_job(quick.job(killed, output=f"{shop.url}/out", limit=3, overwrite=True))
    run_job(quick.job(killed, limit=3))
    assert outputs(shop.content()) == here(killed)


# Faults


@pytest.mark.parametrize("name", ["/parts/", "/receipts/", "out/predictions", "out/job.json", "/lock", "/header.json"])
def test_faults_that_pass_change_nothing(shop: Shop, folder: Path, name: str) -> None:
    """Throttling, errors of the server, resets, cut bodies, answers that are lost."""
    run_job(quick.job(folder))
    shop.plan.set("4ul5r"[:4] if name != "/lock" else "lu5", puts(name))
    assert run_job(quick.job(folder, output=f"{shop.url}/out")).status == "Completed"
    assert not shop.plan.letters
    assert outputs(shop.content()) == here(folder)


@pytest.mark.parametrize("letter", ["5", "u", "f"])
@pytest.mark.parametrize("name", ["/parts/", "/receipts/", "out/predictions", "out/job.json", "/lock"])
def test_faults_that_stay_end_the_job_with_their_cause_and_the_same_command_goes_on(
    shop: Shop, folder: Path, name: str, letter: str
) -> None:
    shop.plan.set(f"{letter}*", puts(name))
    with pytest.raises(StorageError, match="can't write") as caught:
        run_job(quick.job(folder, output=f"{shop.url}/out"))
    assert caught.value.exit_code == 4
    assert ("denies it" if letter == "f" else "tried 5 times") in str(caught.value)
    there = shop.content()
    assert "out/predictions.csv" not in there or name == "out/job.json"
    assert "out/.batchscore/lock" not in there
    shop.plan.set("")
    assert run_job(quick.job(folder, output=f"{shop.url}/out")).status == "Completed"
    run_job(quick.job(folder))
    assert outputs(shop.content()) == here(folder)


@pytest.mark.parametrize("letters", ["...u.5..l.4", "..u*"])
def test_big_files_go_in_blocks_and_appear_whole_or_not_at_all(
    shop: Shop, tmp_path: Path, letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscore.storage.blocks.BLOCK_BYTES", 5 << 20)
    path = tmp_path / "big"
    path.write_bytes(random.Random(3).randbytes((33 << 20) + 5))
    place = StorePlace(f"{shop.url}/out", Access())
    shop.plan.set(letters, puts("out/big"))
    if letters.endswith("*"):
        with pytest.raises(StorageError, match="can't write .*/out/big"):
            place.upload("big", str(path))
        assert place.names("") == set()
    else:
        place.upload("big", str(path))
        assert shop.content() == {"out/big": path.read_bytes()}
    assert shop.kind == "azure" or shop.server.uploads(shop.place) == 0


def test_what_a_killed_upload_left_on_s3_goes_with_the_next_run(s3: S3, folder: Path) -> None:
    """Of its own files: whoever writes beside them, or below OUTPUT, may be uploading."""
    bucket = s3.bucket()
    store = filesystem_of(f"s3://{bucket}/out")
    ours = ["out/predictions.csv", "out/.batchscore/j/parts/r/p.csv"]
    others = ["output/predictions.csv", "out/later/predictions.csv", "other.csv"]
    for key in ours + others:
        store.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
    run_job(quick.job(folder, output=f"s3://{bucket}/out"))
    assert s3.uploads(bucket) == len(others)
    run_job(quick.job(folder, output=f"s3://{bucket}"))
    assert s3.uploads(bucket) == len(others)


# The lock


def held(shop: Shop) -> str:
    return shop.content()["out/.batchscore/lock"].decode()


def test_two_at_once_are_refused_and_another_machines_lock_is_never_taken_by_itself(
    shop: Shop, folder: Path, tmp_path: Path
) -> None:
    job = quick.job(folder, output=f"{shop.url}/out")
    with workspace_of(job):
        with pytest.raises(OutputLocked, match=f"process {os.getpid()} on .*; wait for it or stop it$"):
            run_job(replace(job, work_dir=str(tmp_path / "other"), break_lock=True))
        claim = json.loads(held(shop))
    claim["process"]["host"] = "elsewhere"
    shop.put("out/.batchscore/lock", json.dumps(claim).encode())
    with pytest.raises(OutputLocked, match=f"process {os.getpid()} on elsewhere, last sign of life 20.* --break-lock"):
        run_job(job)
    assert "--break-lock" not in look(job.output).message
    claim["seen"] = "2026-01-02T03:04:05.678Z"
    shop.put("out/.batchscore/lock", json.dumps(claim).encode())
    assert "last sign of life at 2026-01-02T03:04:05.678Z; if it is gone for certain" in look(job.output).message
    shop.put("out/.batchscore/lock", b"?")
    with pytest.raises(OutputLocked, match="another process, last sign of life unknown"):
        run_job(job)
    assert run_job(replace(job, break_lock=True)).status == "Completed"
    assert outputs(shop.content())


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"started": "1"}])
def test_the_lock_of_a_process_of_this_machine_that_is_gone_is_taken(
    shop: Shop, folder: Path, change: dict[str, Any]
) -> None:
    job = quick.job(folder, output=f"{shop.url}/out")
    with workspace_of(job):
        claim = json.loads(held(shop))
    claim["process"] |= change
    shop.put("out/.batchscore/lock", json.dumps(claim).encode())
    assert run_job(job).status == "Completed"


@pytest.mark.parametrize("moment", ["conclude", "_joined", "publish_failures"])
def test_a_run_whose_lock_was_broken_publishes_nothing(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It finds out before it publishes, or earlier by the thread that gives signs of life; and before job.json."""
    job = quick.job(folder, output=f"{shop.url}/out")
    real = getattr(publishing, moment)

    def broken(*arguments: Any) -> Any:
        claim = json.loads(held(shop))
        shop.put("out/.batchscore/lock", json.dumps({**claim, "token": "other"}).encode())
        return real(*arguments)

    monkeypatch.setattr(publishing, moment, broken)
    monkeypatch.setattr(runner, "conclude", publishing.conclude)
    with pytest.raises(OutputLocked, match="has broken the lock"):
        run_job(job)
    content = shop.content()
    assert "out/job.json" not in content
    assert ("out/predictions.csv" in content) == (moment == "publish_failures")
    assert json.loads(content["out/.batchscore/lock"])["token"] == "other"


def test_a_run_whose_lock_was_broken_leaves_the_outputs_of_the_other_one_when_an_error_ends_it(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"out/job.json": b"theirs", "out/failures.jsonl": b"theirs", "out/logs/job_result.txt": b"theirs"}

    def overtaken(*_: Any) -> Any:
        claim = json.loads(held(shop))
        for name, content in {
            **theirs,
            "out/.batchscore/lock": json.dumps({**claim, "token": "other"}).encode(),
        }.items():
            shop.put(name, content)
        raise StorageError("the disk is full")

    monkeypatch.setattr(runner, "conclude", overtaken)
    with pytest.raises(OutputLocked, match="has broken the lock"):
        run_job(quick.job(folder, output=f"{shop.url}/out"))
    content = shop.content()
    assert {name: content.get(name) for name in theirs} == theirs


def test_what_the_credentials_refuse_leaves_no_lock_here(s3: S3, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls from Python gets the same answer the second time."""
    job = quick.job(folder, output=f"s3://{s3.bucket()}/out")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"/lock: .*profile \(nobody\) could not be found; check the credentials"):
            run_job(job)


def test_a_store_that_is_gone_is_waited_for_once(shop: Shop, folder: Path) -> None:
    shop.plan.set("5*")
    with pytest.raises(StorageError, match=r"can't look at OUTPUT .*tried 5 times"):
        run_job(quick.job(folder, output=f"{shop.url}/out"))
    assert len(shop.plan.requests) <= 5 * 2  # a library may ask twice at once, for a file and for a folder


def test_a_run_gives_signs_of_life_and_hears_that_its_lock_was_broken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscore.storelock.BEAT_SECONDS", 0.02)
    lock = StoreLock(StorePlace(f"{shop.url}/out", Access()))
    lock.acquire()
    first = json.loads(held(shop))["seen"]
    wait_until(lambda: json.loads(held(shop))["seen"] > first)
    lock.check_heard()
    shop.delete("out/.batchscore/lock")
    with pytest.raises(OutputLocked, match="somebody has broken the lock"):
        wait_until(lambda: lock.check_heard() is not None)  # type: ignore[func-returns-value]
    lock.release()
    assert shop.content() == {}


# What gcsfs is asked for; no server of Google's kind is here


class Gs:
    """As much of gcsfs' file system as writing takes, and an object of generation 7."""

    _location = "https://host"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def call(self, method: str, path: str, *arguments: str, **options: Any) -> None:
        self.asked.append((method, path.format(*arguments), options))

    def info(self, _: str) -> dict[str, str]:
        return {"etag": "CAE=", "generation": "7"}

    def put_file(self, path: str, key: str, chunksize: int) -> None:
        self.asked.append((path, key, chunksize))


def test_google_is_asked_on_conditions_by_generation() -> None:
    gs = Gs()
    objects = GsObjects(gs)
    assert put_if(objects, "gs://b/a/x y", b"1", NEW)
    assert put_if(objects, "gs://b/a/x y", b"1", "CAE=")
    assert not put_if(objects, "gs://b/a/x y", b"1", "CAI=")
    put_object(objects, "gs://b/a/x y", b"1")
    assert [options.get("ifGenerationMatch") for _, _, options in gs.asked] == ["0", "7", None]
    method, path, options = gs.asked[0]
    assert (method, path) == ("POST", "https://host/upload/storage/v1/b/b/o")
    assert (options["name"], options["uploadType"], options["data"]) == ("a/x y", "media", b"1")


def test_google_gets_big_files_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchscore.storage.blocks.BLOCK_BYTES", 4)
    (tmp_path / "x").write_bytes(b"12345")
    gs = Gs()
    put_file(GsObjects(gs), "gs://b/x", str(tmp_path / "x"))
    assert gs.asked == [(str(tmp_path / "x"), "b/x", 4)]
