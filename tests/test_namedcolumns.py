"""Names of input columns that are misspelt are refused before anything is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import quick

from batchscore.errors import UsageError
from batchscore.runner import run_job
from batchscore.validation import validate_job


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `in` of files with `x`, which is all that the model needs."""
    quick.use(monkeypatch)
    quick.write(tmp_path, a="1", b="2")
    return tmp_path


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ((("xx", "x"),), "--rename xx=x: there is no column xx, found x; did you mean x?"),
        ((("x", "xy"),), "--rename x=xy: the model has no input xy, found x; did you mean x?"),
        ((("old", "x"),), "--rename old=x: there is no column old, found x"),
    ],
)
def test_a_misspelt_rename_is_wrong_use(folder: Path, rename: tuple[tuple[str, str], ...], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        run_job(quick.job(folder, rename=rename))
    assert str(refused.value) == message
    assert not (folder / "out").exists()


def test_of_several_names_for_one_column_files_have_one(folder: Path) -> None:
    """Also where it is another one in other files, or a Hive folder's."""
    (folder / "in/b.csv").write_text("old\n2\n")
    (folder / "in/older=3").mkdir()
    (folder / "in/older=3/c.csv").write_text("y\n1\n")
    for rename in ((("old", "x"), ("never", "x")), (("older", "x"),)):
        assert run_job(quick.job(folder, rename=rename, overwrite=True)).status == "Completed"


def test_validate_tells_it_beside_the_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchscore.validation.worker_spec", lambda prepared: quick.spec(prepared, {}))
    report = validate_job(quick.job(folder, rename=(("xx", "x"),)))
    assert [each.check for each in report.problems] == ["settings"]
    assert report.inputs
    assert report.inputs.rows == 2
