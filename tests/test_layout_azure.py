"""Layout azure: what programs that read Azure's predictions.csv find."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import SAMPLE_DATA

from batchscore.errors import UsageError
from batchscore.face import run

IRIS = SAMPLE_DATA / "models" / "iris"


def test_rows_predictions_and_base_names_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, rows in (("a.csv", 2), ("deep/b.csv", 1)):
        frame = pd.read_parquet(SAMPLE_DATA / "iris").drop(columns=["species"], errors="ignore").head(rows)
        frame.to_csv(tmp_path / "in" / name, index=False)
    summary = run(IRIS, tmp_path / "in", tmp_path / "out", layout="azure")
    assert summary.status == "Completed"
    text = Path(summary.outputs[0]).read_text()
    assert text == "0,setosa,a.csv\n1,setosa,a.csv\n0,setosa,b.csv\n"
    frame = pd.read_csv(summary.outputs[0], names=["row", "prediction", "file"])
    assert frame["row"].tolist() == [0, 1, 0]


def test_files_whose_base_names_collide_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "a.csv").write_text("x\n1\n")
    with pytest.raises(UsageError, match=r"one/a\.csv and two/a\.csv would be one; --layout table"):
        run(IRIS, tmp_path / "in", tmp_path / "out", layout="azure")
    assert not (tmp_path / "out" / "job.json").exists()


@pytest.mark.parametrize("option", [{"keep": "all"}, {"add": {"day": 1}}, {"format": "parquet"}])
def test_what_needs_a_header_is_refused(tmp_path: Path, option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="need --layout table"):
        run(IRIS, SAMPLE_DATA / "iris", tmp_path / "out", layout="azure", **option)  # type: ignore[arg-type]  # one of many
