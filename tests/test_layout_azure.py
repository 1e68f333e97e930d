"""Layout azure: what programs that read Azure's predictions.csv find."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answering import Predicted
from conftest import SAMPLE_DATA, RunHere, SaveModel

from batchscore.errors import UsageError
from batchscore.face import run

IRIS = SAMPLE_DATA / "models" / "iris"
Answering = Callable[..., Path]


def read(data: bytes, *predictions: str) -> pd.DataFrame:
    """As Azure's users read it."""
    from io import BytesIO

    return pd.read_csv(BytesIO(data), names=["row", *predictions, "file"])


@pytest.fixture
def azure(predicted: Predicted) -> Callable[..., bytes]:
    """The prediction file of xs.csv in layout azure; arguments as for Predicted."""
    return lambda answer, *outputs, **options: predicted(answer, *outputs, layout="azure", **options)


def test_rows_predictions_and_base_names_without_a_header(
    sample_models: Path, sample_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, rows in (("a.csv", 2), ("deep/b.csv", 1)):
        frame = pd.read_parquet(sample_data / "iris").drop(columns=["species"], errors="ignore").head(rows)
        frame.to_csv(tmp_path / "in" / name, index=False)
    summary = run(sample_models / "iris", tmp_path / "in", tmp_path / "out", layout="azure")
    assert summary.status == "Completed"
    text = Path(summary.outputs[0]).read_text()
    assert text == "0,setosa,a.csv\n1,setosa,a.csv\n0,setosa,b.csv\n"
    frame = pd.read_csv(summary.outputs[0], names=["row", "prediction", "file"])
    assert frame["row"].tolist() == [0, 1, 0]


def test_several_output_columns_stand_between_row_and_file(azure: Callable[..., bytes]) -> None:
    data = azure("pd.DataFrame({'label': ['a', 'b', 'c', 'd', 'e'], 'score': v / 4})")
    assert data.startswith(b"0,a,0.75,xs.csv\n1,b,0.25,xs.csv\n")
    assert read(data, "label", "score")["score"].tolist() == [0.75, 0.25, 0.5, 1.25, 1.0]


@pytest.mark.parametrize("parse", [json.loads, ast.literal_eval])
@pytest.mark.parametrize(
    ("answer", "first"),
    [
        ("[[float(x), x / 8] for x in v]", [3.0, 0.375]),
        ("np.arange(20).reshape(5, 2, 2).tolist()", [[0, 1], [2, 3]]),
        ("[['a, b', 'it\\'s \"so\"', 'li\\nne'] for _ in v]", ["a, b", 'it\'s "so"', "li\nne"]),
        ("[{'label': 'x', 'box': [1, 2]} for _ in v]", {"label": "x", "box": [1, 2]}),
        ("[[] for _ in v]", []),
    ],
)
def test_lists_and_dicts_are_cells_that_json_and_python_read(
    azure: Callable[..., bytes], answer: str, first: Any, parse: Callable[[str], Any]
) -> None:
    frame = read(azure(f"pd.DataFrame({{'found': {answer}}})"), "found")
    assert parse(frame["found"][0]) == first
    assert frame["row"].tolist() == [0, 1, 2, 3, 4]
    assert set(frame["file"]) == {"xs.csv"}


def test_the_second_dimension_of_a_tensor_gives_columns_and_further_ones_lists(azure: Callable[..., bytes]) -> None:
    assert azure("np.arange(10).reshape(5, 2)").startswith(b"0,0,1,xs.csv\n1,2,3,xs.csv\n")
    assert azure("np.arange(20).reshape(5, 2, 2)").startswith(b'0,"[0,1]","[2,3]",xs.csv\n')
    named = "{'image': np.ones((n, 2)), 'text': np.zeros((n, 3), 'int64')}"
    assert azure(named).startswith(b"0,1.0,1.0,0,0,0,xs.csv\n")


def test_missing_values_are_empty_and_texts_are_quoted_where_they_must_be(azure: Callable[..., bytes]) -> None:
    data = azure("pd.Series(['a,b', 'say \"a\"', None, '', 'x\\ny'])")
    assert data == b'0,"a,b",xs.csv\n1,"say ""a""",xs.csv\n2,,xs.csv\n3,"",xs.csv\n4,"x\ny",xs.csv\n'


@pytest.mark.parametrize("names", [("row", "file"), ("file", "row"), ("file", "prediction")])
def test_a_model_may_call_its_columns_row_and_file(
    run_here: RunHere, answering: Answering, xs: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    answer = f"pd.DataFrame({{{names[0]!r}: v, {names[1]!r}: v / 2}})"
    summary = run_here(answering(), xs, tmp_path / "out", layout="azure", params={"answer": answer})
    assert Path(summary.outputs[0]).read_bytes().startswith(b"0,3.0,1.5,xs.csv\n")
    assert [column["role"] for column in summary.manifest["columns"]] == ["row", "prediction", "prediction", "file"]
    frame = summary.read()
    assert list(frame) == ["row", *names, "file"]
    assert frame.iloc[1].tolist() == [1, 1.0, 0.5, "xs.csv"]


def test_types_that_differ_from_file_to_file_are_widened(
    run_here: RunHere, answering: Answering, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name, x in (("a", 1), ("b", 2)):
        (tmp_path / f"in/{name}.csv").write_text(f"x\n{x}\n")
    answer = "v.astype('int64') if v[0] == 1 else v / 4"
    summary = run_here(
        answering(), tmp_path / "in", tmp_path / "out", layout="azure", params={"answer": answer}, mini_batch_size=1
    )
    assert Path(summary.outputs[0]).read_bytes() == b"0,1.0,a.csv\n0,0.5,b.csv\n"


def test_names_of_files_stay_whole_whatever_is_in_them(run_here: RunHere, answering: Answering, tmp_path: Path) -> None:
    names = ['a, "b".csv', "c\nd.csv", "e'f.csv", "ü.csv"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_text("x\n1\n")
    summary = run_here(answering(), tmp_path / "in", tmp_path / "out", layout="azure", params={"answer": "v"})
    data = Path(summary.outputs[0]).read_bytes()
    assert data.startswith(b'0,1.0,"a, ""b"".csv"\n0,1.0,"c\nd.csv"\n')
    assert read(data, "prediction")["file"].tolist() == names == summary.read()["file"].tolist()


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Files n1, n3 in deep/, then n0 and n2, of three rows each."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number in range(4):
        rows = "".join(f"{10 * number + x}\n" for x in range(3))
        Path(tmp_path, "in", "deep" if number % 2 else "", f"n{number}.csv").write_text(f"x\n{rows}")
    return tmp_path / "in"


FOUR = "".join(f"{row},{10 * number + row}.0,n{number}.csv\n" for number in (1, 3, 0, 2) for row in range(3)).encode()


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(
    answering: Answering, four: Path, tmp_path: Path, workers: int
) -> None:
    options: Any = {"layout": "azure", "params": {"answer": "v"}, "mini_batch_size": 1, "workers": workers}
    summary = run(answering(), four, tmp_path / "out", **options)
    assert Path(summary.outputs[0]).read_bytes() == FOUR


@pytest.mark.parametrize("output_files", ["one", "parts", "mirror"])
def test_several_prediction_files_have_the_same_lines(
    run_here: RunHere, answering: Answering, four: Path, tmp_path: Path, output_files: str
) -> None:
    options = {"layout": "azure", "params": {"answer": "v"}, "mini_batch_size": 1, "output_files": output_files}
    summary = run_here(answering(), four, tmp_path / "out", **options)
    assert len(summary.outputs) == (1 if output_files == "one" else 4)
    assert b"".join(Path(path).read_bytes() for path in summary.outputs) == FOUR
    assert summary.read()["file"].tolist() == [f"n{number}.csv" for number in (1, 3, 0, 2) for _ in range(3)]
    if output_files == "mirror":
        assert (tmp_path / "out/predictions/deep/n1.csv.csv").read_bytes().startswith(b"0,10.0,n1.csv\n")


def test_a_job_without_rows_gives_an_empty_file_that_reads_as_no_rows(
    run_here: RunHere, answering: Answering, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("x\n")
    summary = run_here(answering(), empty, tmp_path / "out", layout="azure", params={"answer": "v"})
    assert (summary.status, Path(summary.outputs[0]).read_bytes()) == ("Completed", b"")
    assert list(summary.read()) == ["row", "prediction", "file"]
    assert len(summary.read()) == 0


def test_a_repaired_file_is_scored_alone_and_takes_its_place(
    run_here: RunHere, answering: Answering, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name, x in (("a", "1"), ("b", "oops"), ("c", "3")):
        (tmp_path / f"in/{name}.csv").write_text(f"x\n{x}\n")
    options = {"layout": "azure", "params": {"answer": "v + 100 * calls"}, "mini_batch_size": 1}
    assert run_here(answering(), tmp_path / "in", tmp_path / "out", **options).status == "Failed"
    assert not (tmp_path / "out/predictions.csv").exists()
    (tmp_path / "in/b.csv").write_text("x\n2\n")
    assert run_here(answering(), tmp_path / "in", tmp_path / "out", **options).counts.rows_scored == 3
    frame = read((tmp_path / "out/predictions.csv").read_bytes(), "prediction")
    assert (frame["prediction"] // 100).tolist() == [1, 1, 2]  # the second run's first call was for b.csv
    assert (frame["prediction"] % 100).tolist() == [1, 2, 3]


def test_an_image_is_row_0_of_its_file(run_here: RunHere, save_model: SaveModel, tmp_path: Path) -> None:
    """One form of line for all inputs, where Azure's documentation leaves the row of images open."""
    image = pytest.importorskip("PIL.Image")
    model = save_model(BRIGHT)
    (tmp_path / "in").mkdir()
    image.new("RGB", (2, 3), (10, 20, 30)).save(tmp_path / "in/a.png")
    image.new("L", (2, 3), 7).save(tmp_path / "in/b.png")
    run_here(model, tmp_path / "in", tmp_path / "out", layout="azure")
    assert (tmp_path / "out/predictions.csv").read_text() == "0,20.0,3,a.png\n0,7.0,2,b.png\n"


BRIGHT = """
import numpy as np
import pandas as pd
import mlflow.pyfunc
from mlflow.models import set_model

class Bright(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: np.ndarray, params=None):
        return pd.DataFrame({"mean": [float(model_input.mean())], "dimensions": [model_input.ndim]})

set_model(Bright())
"""


def test_rows_of_a_payload_are_counted_in_its_file(run_here: RunHere, answering: Answering, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_text('{"input_data": {"columns": ["x"], "index": [7, 8], "data": [[1], [2]]}}')
    (tmp_path / "in/b.jsonl").write_text('{"x": 3}\n')
    run_here(answering(), tmp_path / "in", tmp_path / "out", layout="azure", params={"answer": "v"})
    assert (tmp_path / "out/predictions.csv").read_text() == "0,1.0,a.json\n1,2.0,a.json\n0,3.0,b.jsonl\n"


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
