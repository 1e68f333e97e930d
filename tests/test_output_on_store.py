"""OUTPUT on a store, as run, validate and show have it, and Python's callers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import quick
from conftest import RunBatchscore, RunHere
from killable import Killable
from stores import ACCOUNT, ACCOUNT_KEY, Azurite, Shop
from uploaded import here, outputs, puts, receipts, settings_of, wait_until

from batchscore.errors import StorageError, UsageError
from batchscore.inputs import Selection, list_inputs
from batchscore.locking import Holder
from batchscore.planning import access_to_stores
from batchscore.runner import run_job
from batchscore.showing import look
from batchscore.storage import StoredFile, StorePlace, using
from batchscore.storeworkspace import workspace_of
from batchscore.validation import validate_job

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files, and a cache of its own for the work."""
    quick.write(tmp_path, a="1 2", b="", c="3.5")
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_python_reads_predictions_and_failures_from_the_store(
    shop: Shop, run_here: RunHere, twice: Path, folder: Path
) -> None:
    (folder / "in/b.csv").write_text("x\n8\nno\n9\n")
    options = {"on_bad_row": "quarantine", "format": "parquet"}
    summary = run_here(twice, folder / "in", f"{shop.url}/out", **options)
    local = run_here(twice, folder / "in", folder / "out", **options)
    assert summary.status == "Completed", summary.failures().to_dict()
    assert summary.read().equals(local.read())
    assert summary.failures().equals(local.failures())
    assert len(summary.failures()) == 1
    assert summary.outputs == (f"{shop.url}/out/predictions.parquet",)
    assert outputs(shop.content()) == here(folder)
    again = run_here(twice, folder / "in", f"{shop.url}/out", **options)
    assert (again.is_fresh, again.read().equals(local.read())) == (False, True)


def test_a_failed_job_shows_its_bad_rows_and_publishes_them_elsewhere_without_scoring(
    shop: Shop, run_here: RunHere, twice: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of rows put aside lie beside the parts."""
    (folder / "in/b.csv").write_text("x\n8\nno\n9\n")
    options = {"on_bad_row": "quarantine", "max_bad_rows": 0}
    failed = run_here(twice, folder / "in", f"{shop.url}/out", **options)
    assert failed.status == "Failed"
    report = look(f"{shop.url}/out")
    assert (report.status, report.counts["rows_quarantined"], report.is_resumable) == ("Failed", 1, True)
    assert report.reasons[0].count == 1
    shutil.rmtree(folder / "cache")
    monkeypatch.setattr("batchscore.runner.interpreter_for", None)  # nothing is to be scored
    run_here(twice, folder / "in", f"{shop.url}/out", **{**options, "max_bad_rows": "100%"})
    monkeypatch.undo()
    local = {**options, "max_bad_rows": "100%"}
    monkeypatch.setenv("BATCHSCORE_CACHE", str(folder / "cache"))
    run_here(twice, folder / "in", folder / "out", **local)
    assert outputs(shop.content()) == here(folder)


def test_show_tells_of_a_running_job_and_of_a_killed_one(shop: Shop, folder: Path) -> None:
    quick.write(folder, last="99")
    (folder / "faults").mkdir()
    (folder / "faults/99").write_text("wait")
    run = Killable(folder, **settings_of(shop, folder))
    wait_until(lambda: receipts(shop) == 3)
    running = look(f"{shop.url}/out")
    assert (running.status, running.counts["rows_scored"]) == ("Running", 3)
    assert running.progress
    assert (running.progress.mini_batches_done, running.progress.mini_batches) == (3, 4)
    assert running.holder
    assert running.holder.pid == run.process.pid
    run.process.kill()
    run.end()
    killed = look(f"{shop.url}/out")
    assert (killed.status, killed.is_resumable, killed.counts["rows_scored"]) == ("Killed", True, 3)


def test_show_of_a_job_that_ends_this_moment_looks_again(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed of its work is gone when it is to be read."""
    quick.use(monkeypatch)
    quick.write(folder, d="oops")
    job = quick.job(folder, output=f"{shop.url}/out")
    assert run_job(job).status == "Failed"
    read_all, ends = StorePlace.read_all, [True]

    def late(place: StorePlace, files: Sequence[StoredFile]) -> list[bytes]:
        if ends and "/receipts/" in files[0].path:
            ends.clear()
            quick.write(folder, d="4")
            assert run_job(job).status == "Completed"
        return read_all(place, files)

    monkeypatch.setattr(StorePlace, "read_all", late)
    assert look(f"{shop.url}/out").status == "Completed"


def test_show_of_nothing_is_wrong_use(shop: Shop) -> None:
    with pytest.raises(UsageError, match="holds no job of batchscore"):
        look(f"{shop.url}/out")


def test_validate_looks_and_writes_nothing(shop: Shop, twice: Path, folder: Path) -> None:
    job = quick.job(folder, model=str(twice), output=f"{shop.url}/out")
    fine = validate_job(job)
    assert (fine.problems, fine.output_state) == ((), "isn't there yet")
    shop.put("out/predictions.csv", b"strange")
    problems = [finding.message for finding in validate_job(job).problems]
    (problem,) = problems
    assert problem.startswith(f"OUTPUT {shop.url}/out holds predictions.csv, which no job of batchscore wrote; give")
    shop.delete("out/predictions.csv")
    with workspace_of(job):
        before = shop.content()
        problems = [finding.message for finding in validate_job(job).problems]
    assert problems == [
        f"another run holds OUTPUT ({Holder(os.getpid(), socket.gethostname())}); wait for it or stop it"
    ]
    assert shop.content().keys() == before.keys() - {"out/.batchscore/lock"} == set()
    shop.put("out/.batchscore/lock", b"?")
    (problem,) = [finding.message for finding in validate_job(job).problems]
    assert "(another process, last sign of life unknown); wait for it or stop it, or give --break-lock if" in problem
    assert validate_job(replace(job, break_lock=True)).problems == ()


@pytest.mark.parametrize("wrong", ["container", "key", "forbidden", "options", "scheme"])
def test_an_output_that_cannot_be_looked_at_is_a_problem_beside_the_rest(
    wrong: str, shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "in/b.csv").write_text("y\n1\n")
    monkeypatch.setattr("batchscore.validation.worker_spec", lambda prepared: quick.spec(prepared, {}))
    options, output = (), f"{shop.url}/out"
    if wrong == "container":
        output = f"{shop.url}-missing/out"
    elif wrong == "key":
        endpoint = f"http://127.0.0.1:{shop.server.proxy.port}/{ACCOUNT}"
        connection = f"AccountName={ACCOUNT};AccountKey=d3Jvbmc=;BlobEndpoint={endpoint};"
        options = (("connection_string", connection),) if shop.kind == "azure" else (("profile", "nobody"),)
    elif wrong == "forbidden":
        shop.plan.set("f*")
    elif wrong == "options":
        options = (("no_such_option", "1"),)
    elif wrong == "scheme":
        output = "ftp://host/out"
    before = shop.content()
    report = validate_job(quick.job(folder, output=output, storage_options=options))
    assert (report.exit_code, report.output) == (1, output), [each.message for each in report.problems]
    told = {each.check: each.line for each in report.problems}
    assert set(told) == {"files", "output"}, told
    assert "columns are missing: 'x'" in told["files"]
    assert report.model
    assert report.inputs
    assert (report.inputs.rows, report.disk_free) == (3, None)
    assert shop.content() == before


@pytest.mark.parametrize("scheme", ["", "other"])
def test_output_within_the_input_is_no_input(shop: Shop, folder: Path, scheme: str, monkeypatch: Any) -> None:
    """Also where the two are written with different schemes of one store."""
    url = shop.url.replace("abfs://", "az://") if scheme else shop.url
    shop.put("in/a.csv", b"x\n1\n")
    shop.put("in/out/predictions.csv", b"x\n1\n")
    listing = list_inputs((f"{shop.url}/in",), Selection(f"{url}/in/out"))
    assert [file.name for file in listing.files] == ["a.csv"]
    job = quick.job(folder, inputs=(f"{shop.url}/in",), output=f"{url}/in")
    with pytest.raises(UsageError, match="is an INPUT, too"):
        run_job(job)
    with pytest.raises(UsageError, match="lies in OUTPUT"):
        run_job(replace(job, inputs=(f"{shop.url}/in/a.csv",)))


def test_wrong_outputs_are_wrong_use(shop: Shop, folder: Path) -> None:
    for output, message in (
        ("https://host/out", "https:// is for reading only"),
        ("azureml://subscriptions/s/datastores/d/paths/x", "azureml:// is for reading only"),
        (f"{shop.url}/x.csv", f"did you mean: -o {shop.url} --output-file-name x.csv"),
        ("ftp://host/out", "aren't supported"),
    ):
        options = (("default_credentials", "true"),)
        with pytest.raises(UsageError, match=re.escape(message)):
            run_job(quick.job(folder, output=output, storage_options=options if "azureml" in output else ()))


def test_a_container_that_is_not_there_is_told(shop: Shop, folder: Path) -> None:
    with pytest.raises(StorageError, match="check (the container's or bucket's|its) name"):
        run_job(quick.job(folder, output=f"{shop.url}-missing/out"))


def test_a_finished_job_that_may_only_be_read_does_nothing(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.use(monkeypatch)
    job = quick.job(folder, output=f"{shop.url}/out")
    run_job(job)
    shop.plan.set("f*", lambda method, _: method in {"PUT", "POST", "DELETE"})
    assert not run_job(job).is_fresh


def test_what_a_script_writes_goes_to_the_store_and_is_found_elsewhere(
    shop: Shop, folder: Path, run_batchscore: RunBatchscore
) -> None:
    (folder / "code").mkdir()
    (folder / "code/score.py").write_text(SCRIPT)
    (folder / "d.yml").write_text(
        "name: d\nendpoint_name: e\ntype: model\ncompute: azureml:c\n"
        "code_configuration: {code: code, scoring_script: score.py}\n"
        "settings: {mini_batch_size: 1, error_threshold: -1}\n"
    )
    words = ["run", "-f", str(folder / "d.yml"), "-i", str(folder / "in"), "--workers=1", "--quiet"]
    environment = {"BATCHSCORE_CACHE": str(folder / "cache"), **shop.server.variables}
    there = f"{shop.url}/out"
    (folder / "in/c.csv").chmod(0o600)
    failing = run_batchscore(*words, "-o", there, env={**environment, "FAIL": "c"}, cwd=folder)
    assert failing.returncode == 0, failing.stderr
    local = run_batchscore(*words, "-o", str(folder / "out"), env={"FAIL": "c"}, cwd=folder)
    assert local.returncode == 0, local.stderr
    assert outputs(shop.content()) == here(folder)
    assert {"all.txt", "own/a.csv.txt", "own/b.csv.txt"} <= here(folder).keys()


SCRIPT = """
import os, pathlib
def init():
    pass
def run(mini_batch):
    out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
    name = pathlib.Path(mini_batch[0]).name
    if name[0] == os.environ.get("FAIL"):
        raise ValueError("no")
    (out / "own").mkdir(exist_ok=True)
    (out / "own" / (name + ".txt")).write_text(name)
    with open(out / "all.txt", "a") as every:
        every.write(name)
    return [name]
"""


def test_secrets_of_the_output_are_nowhere(
    azurite: Azurite, folder: Path, twice: Path, run_batchscore: RunBatchscore
) -> None:
    """A key in the address and in options, whether the job ends well or not."""
    container = azurite.container()
    environment = {"BATCHSCORE_CACHE": str(folder / "cache")}
    secret = azurite.connection_string(azurite.proxy.port)
    words = ["-m", str(twice), "-i", str(folder / "in"), "-o", f"abfs://{container}/out"]
    for letters in ("f*", ""):
        azurite.proxy.plan.set(letters, puts("/parts/"))
        done = run_batchscore("run", *words, "--storage-option", f"connection_string={secret}", env=environment)
        assert done.returncode == (4 if letters else 0), done.stderr
        shown = run_batchscore(
            "show", f"abfs://{container}/out", "--storage-option", f"connection_string={secret}", env=environment
        )
        assert shown.returncode == 0, shown.stderr
        kept = [path.read_bytes() for path in (folder / "cache").rglob("*") if path.is_file()]
        written = [*azurite.content(container).values(), *kept]
        for text in (done.stdout, done.stderr, shown.stdout, *(data.decode("utf-8", "replace") for data in written)):
            assert ACCOUNT_KEY not in text
            assert secret not in text


def test_a_key_in_the_address_of_the_output_is_used_and_not_shown(folder: Path) -> None:
    pytest.importorskip("adlfs")
    place = "abfss://c@account.dfs.core.windows.net/out"
    job = quick.job(folder, output=f"{place}?sv=2024&sig=SECRET")
    access = access_to_stores(job)
    assert access.as_given(f"{place}/x") == job.output
    with using(access):
        workspace = workspace_of(job)
    assert workspace.root == place


def test_old_work_in_the_cache_goes_unless_a_run_holds_it(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of OUTPUTs on stores alone, which have what counts: other work there can't be had elsewhere."""
    quick.use(monkeypatch)
    quick.write(folder, d="oops")
    cache = folder / "cache/work"
    for name in ("old", "held", "fresh"):
        assert run_job(quick.job(folder, output=f"{shop.url}/{name}")).status == "Failed"
    kept = {path.name: (path / "store").read_text().strip().rpartition("/")[2] for path in cache.iterdir()}
    assert sorted(kept.values()) == ["fresh", "held", "old"]
    run_job(quick.job(folder, work_dir=str(cache)))
    (local,) = {path.name for path in cache.iterdir()} - kept.keys()
    for path in [
        path for each in cache.iterdir() if kept.get(each.name) != "fresh" for path in (*each.iterdir(), each)
    ]:
        os.utime(path, (1, 1))
    elsewhere = folder / "elsewhere"  # somebody else's, planted in a shared cache
    elsewhere.mkdir()
    (elsewhere / "store").touch()
    for path in (elsewhere / "store", elsewhere):
        os.utime(path, (1, 1))
    (cache / ".batchscore-link").symlink_to(elsewhere)
    (cache / "gone-.batchscore-half/parts").mkdir(parents=True)  # a removal was killed
    (cache / "gone-.batchscore-link").symlink_to(elsewhere)
    (held,) = [path for path in cache.iterdir() if kept.get(path.name) == "held"]
    with (held / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        quick.write(folder, d="4")
        assert run_job(quick.job(folder, output=f"{shop.url}/new")).status == "Completed"
    left = {kept.get(path.name, path.name) for path in cache.iterdir()}
    assert left == {"held", "fresh", local, ".batchscore-link", "gone-.batchscore-link"}
    assert (elsewhere / "store").exists()
    assert run_job(quick.job(folder, output=f"{shop.url}/old")).counts.rows_scored == 4


def test_messages_of_a_store_name_output_and_not_what_lies_in_it(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.use(monkeypatch)
    job = quick.job(folder, output=f"{shop.url}/out")
    for letters, counts in (("f*", lambda *_: True), ("f*", puts("/out/.batchscore")), ("f*", puts("/out/job.json"))):
        shop.plan.set(letters, counts)
        with pytest.raises(StorageError) as refused:
            run_job(job)
        assert f"OUTPUT {shop.url}/out" in str(refused.value)
        assert "; check " in str(refused.value)
        assert not re.search(r"\.batchscore|job\.json|OUTPUT OUTPUT", str(refused.value))
