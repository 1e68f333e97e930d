"""What a model folder says without MLflow, and its digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchscore.errors import UsageError
from batchscore.modelfolder import digest, is_registered, read_model_folder

MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: '[{"type": "long", "name": "y"}]'
  params: '[{"name": "p", "type": "long", "default": 1, "shape": null}]'
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text(MLMODEL)
    (tmp_path / "model/model.pkl").write_bytes(b"weights")
    return tmp_path / "model"


def test_the_signature_is_read(model: Path) -> None:
    folder = read_model_folder(str(model))
    assert folder.has_signature
    assert folder.signature.inputs
    assert [spec.name for spec in folder.signature.inputs.columns] == ["x"]
    assert [spec.name for spec in folder.signature.params] == ["p"]


def test_the_digest_is_of_names_and_contents_and_of_nothing_else(model: Path, tmp_path: Path) -> None:
    before = digest(str(model))
    os.utime(model / "model.pkl", (0, 0))
    (model / "code/__pycache__").mkdir(parents=True)
    (model / "code/__pycache__/a.cpython-311.pyc").write_bytes(b"bytecode")
    (model / "code/b.pyc").write_bytes(b"bytecode")
    assert digest(str(model)) == before
    model.rename(tmp_path / "moved")
    assert digest(str(tmp_path / "moved")) == before
    (tmp_path / "moved/model.pkl").rename(tmp_path / "moved/model2.pkl")
    renamed = digest(str(tmp_path / "moved"))
    (tmp_path / "moved/model2.pkl").write_bytes(b"weightS")
    assert len({before, renamed, digest(str(tmp_path / "moved"))}) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no MLmodel file"),
        ("", "found nothing, expected keys and values"),
        ("[1]", "found a list, expected keys and values"),
        ("a: [", "can't read .*MLmodel, expected YAML"),
        ("flavors: {sklearn: {}}", "has no python_function flavour, only sklearn"),
        ("flavors: 7", "its flavors and its signature must be keys and values"),
        ("flavors: {python_function: {}}\nsignature: {inputs: 'x'}", "inputs in MLmodel aren't JSON"),
    ],
)
def test_what_is_no_model_is_refused(model: Path, content: str | None, message: str) -> None:
    if content is None:
        (model / "MLmodel").unlink()
    else:
        (model / "MLmodel").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_model_folder(str(model))


def test_the_folder_meant_is_named(model: Path) -> None:
    with pytest.raises(UsageError, match=f"did you mean {model}"):
        read_model_folder(str(model.parent))
    with pytest.raises(UsageError, match=f"did you mean {model}"):
        read_model_folder(str(model / "MLmodel"))
    with pytest.raises(UsageError, match="isn't there"):
        read_model_folder(str(model / "nothing"))


def test_registered_models_are_told_from_folders() -> None:
    assert [is_registered(name) for name in ("models:/a/1", "runs:/1/model", "models", "./models:")] == [
        True, True, False, False,
    ]  # fmt: skip
