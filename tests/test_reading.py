"""`JobSummary.read()`: one frame whatever the format."""

from __future__ import annotations

import pandas as pd
import pytest

FORMATS = ("csv", "jsonl", "parquet")
EVERYTHING = (
    "pd.DataFrame({'f': v / 3, 'i': v.astype('int64'), 'i32': v.astype('int32'), 'b': v > 2, "
    "'code': ['007', 'NA', '1', '', 'é\\n'][:n], 't': pd.to_datetime(['2026-01-01T10:00:00.5'] * n), "
    "'u': pd.to_datetime(['2026-01-01'] * n, utc=True), 'd': pd.to_timedelta(v, unit='h'), "
    "'m': pd.array([None if x == 2 else int(x) for x in v], 'Int64'), 'f32': (v / 3).astype('float32'), "
    "'inf': v / 0.0})"
)


@pytest.fixture
def frames(run_here, answering, xs, tmp_path):
    def read(answer: str, **options):
        return {
            form: run_here(
                answering(), xs, tmp_path / form, params={"answer": answer}, **{"format": form, **options}
            ).read()
            for form in FORMATS
        }

    return read


def values_of(series: pd.Series) -> list:
    return [None if pd.isna(value) else value for value in series.tolist()]


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("output_files", ["one", "mirror"])
def test_every_format_gives_the_same_values_in_the_same_types(frames, output_files):
    found = frames(EVERYTHING, output_files=output_files)
    kinds = {"f": "f", "i": "i", "i32": "i", "b": "b", "t": "M", "u": "M", "d": "m", "m": "f", "f32": "f", "inf": "f"}
    for form, frame in found.items():
        for name, kind in kinds.items():
            dtype = frame[name].dtype
            assert dtype.kind == kind, (form, name)
            assert values_of(frame[name]) == values_of(found["parquet"][name]), (form, name)
        assert str(frame["i32"].dtype) == "int32"
        assert str(frame["f32"].dtype) == "float32"
        assert values_of(frame["m"]) == [3, 1, None, 5, 4]
        assert frame["code"].tolist()[:3] == ["007", "NA", "1"]
        assert frame["code"].tolist()[4] == "é\n"


def test_an_answer_of_nothing_but_numbers_as_text_stays_text(frames):
    for frame in frames("['007', '1', '2', '3', '4'][:n]").values():
        assert frame["prediction"].tolist() == ["007", "1", "2", "3", "4"]


KEPT = {
    "zeros": ("007\n1", ["007", "1"]),
    "numbers": ("7\n1", [7, 1]),
    "fractions": ("0.5\n1", [0.5, 1.0]),
    "missing": ("7\n", [7.0, None]),
    "large": ("9007199254740993\n1", [2**53 + 1, 1]),
    "large and missing": ("9007199254740993\n", ["9007199254740993", None]),
    "words": ("NA\nx", ["NA", "x"]),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("keys", "expected"), KEPT.values(), ids=list(KEPT))
def test_a_kept_key_is_a_number_only_where_that_loses_nothing(run_here, answering, tmp_path, keys, expected, form):
    """In JSON lines and Parquet that is how the file has it."""
    (tmp_path / "a.csv").write_text("x,k\n" + "".join(f"1,{key}\n" for key in keys.split("\n")))
    options = {"params": {"answer": "v"}, "keep": "k", "format": form}
    found = run_here(answering(), tmp_path / "a.csv", tmp_path / "out", **options).read()["k"]
    if form != "csv" and keys == "9007199254740993\n":  # pandas makes floats of integers beside missing values
        assert found.isna().tolist() == [False, True]
    else:
        assert values_of(found) == expected


@pytest.mark.parametrize("name", ["p.pqt", "p.parquet", "p"])
def test_the_format_counts_not_the_name(run_here, answering, xs, tmp_path, name):
    options = {"params": {"answer": "v"}, "format": "parquet", "output_file_name": name}
    assert run_here(answering(), xs, tmp_path / "out", **options).read()["prediction"].tolist() == [3, 1, 2, 5, 4]


@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_are_a_frame_with_the_signatures_types(run_here, answering, tmp_path, form):
    (tmp_path / "none.csv").write_text("x,k\n")
    model = answering(("score", "double"), ("label", "string"), ("n", "long"))
    options = {"params": {"answer": "v"}, "keep": "k", "format": form}
    summary = run_here(model, tmp_path / "none.csv", tmp_path / "out", **options)
    assert [(column["name"], column["type"], column["role"]) for column in summary.manifest["columns"]] == [
        ("file", "string", "file"),
        ("row", "int64", "row"),
        ("k", "string", "kept"),
        ("score", "double", "prediction"),
        ("label", "string", "prediction"),
        ("n", "int64", "prediction"),
    ]
    found = summary.read()
    assert list(found.columns) == ["file", "row", "k", "score", "label", "n"]
    assert found.empty
    if form == "parquet":
        assert [found[name].dtype.kind for name in ("row", "score", "n")] == ["i", "f", "i"]
