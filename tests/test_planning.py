"""What a job will do, fixed before anything is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import quick

from batchscore import planning
from batchscore.errors import UsageError
from batchscore.job import Job
from batchscore.journal import Journal
from batchscore.planning import Prepared, find_inputs, find_model, prepare
from batchscore.resuming import identify
from batchscore.workspace import Workspace


def prepared(folder: Path, workspace: Workspace, **settings: Any) -> Prepared:
    job = quick.job(folder, **settings)
    model = find_model(job, workspace)
    return prepare(job, workspace, model, find_inputs(job, workspace), identify(job, model.folder.digest))


def with_columns(folder: Path, count: int, kind: str) -> None:
    columns = [{"type": kind, "name": f"c{number}", "required": True} for number in range(count)]
    (folder / "model/MLmodel").write_text(
        f"flavors: {{python_function: {{}}}}\nsignature:\n  inputs: '{json.dumps(columns)}'\n"
    )


@pytest.fixture
def workspace(tmp_path: Path):
    quick.write(tmp_path, a="1")
    with Workspace(str(tmp_path / "out")) as workspace:
        yield workspace


@pytest.mark.parametrize(
    ("count", "kind", "rows"), [(1, "double", 65_536), (1000, "double", 16_777), (9, "string", 65_536)]
)
def test_the_rows_of_a_call_follow_from_the_width_of_a_row(
    tmp_path: Path, workspace: Workspace, count: int, kind: str, rows: int
) -> None:
    with_columns(tmp_path, count, kind)
    assert prepared(tmp_path, workspace).settings.rows_per_call == rows
    assert prepared(tmp_path, workspace, rows_per_call=7).settings.rows_per_call == 7


def test_threads_stay_as_planned_first(tmp_path: Path, workspace: Workspace) -> None:
    first = prepared(tmp_path, workspace, threads_per_worker=2)
    with Journal(workspace.journal, first.earlier.header, is_new=True):
        again = prepared(tmp_path, workspace, threads_per_worker=1)
    assert again.settings.threads == 2
    assert again.notes == ("this job goes on with 2 threads per worker, as planned",)


def test_an_alias_keeps_its_version_for_this_job_alone(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Registry:
        def __init__(self, spec: Any, *_: Any) -> None:
            self.setup = spec.setup
            asked.append(spec.setup["pinned"])

        def __enter__(self) -> Registry:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ready(self) -> dict[str, str]:
            newest = "models:/m/2" if asked[1:] else "models:/m/1"
            return {"path": str(tmp_path / "model"), "resolved": self.setup["pinned"] or newest, "newest": newest}

    monkeypatch.setattr(planning, "Slots", Registry)
    settings = {"model": "models:/m@champion"}
    first = prepared(tmp_path, workspace, **settings)
    with Journal(workspace.journal, first.earlier.header, is_new=True):
        again = prepared(tmp_path, workspace, **settings)
        other = prepared(tmp_path, workspace, **settings, limit=1, overwrite=True)
    assert asked == [None, "models:/m/1", None]
    assert again.notes == ("models:/m@champion is models:/m/2 now; this job goes on with models:/m/1, as planned",)
    assert other.model.resolved == "models:/m/2"


@pytest.mark.parametrize(
    "settings", [{"add": (("row", "1"),)}, {"keep": ("x", "x")}, {"keep": ("x",), "add": (("x", "1"),)}]
)
def test_output_columns_of_one_name_are_refused(tmp_path: Path, workspace: Workspace, settings: Any) -> None:
    with pytest.raises(UsageError, match="two output columns would have the name"):
        prepared(tmp_path, workspace, **settings)


def test_what_shapes_the_output_is_all_that_makes_another_job() -> None:
    def identity(**settings: Any) -> Any:
        return identify(Job(model="m", inputs=("i",), output="o", **settings), "sha256:d")

    same = {"workers": 3, "timeout": 1.0, "max_retries": 0, "error_threshold": -1, "fail_fast": True, "python": "p"}
    assert identity(**same).differences(identity().to_json()) == []
    (difference,) = identity(limit=3).differences(identity().to_json())
    assert difference == "limit (null there, 3 now)"
