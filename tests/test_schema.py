"""The signature and its params as MLflow writes them."""

from __future__ import annotations

import datetime as dt
import json
import logging
import warnings

import numpy as np
import pytest
from mlflow.models import ModelSignature as MlflowSignature
from mlflow.types import schema as mlflow_schema
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, ParamSchema, Property

from batchscore.errors import UsageError
from batchscore.schema import ModelSignature, Schema, parse_params

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    import mlflow.pyfunc

OBJECT = Object([Property("a", DataType.long), Property("b", Array(DataType.string), required=False)])
COLUMNS = mlflow_schema.Schema(
    [
        *(
            ColSpec(kind, kind)
            for kind in ("double", "float", "long", "integer", "boolean", "string", "binary", "datetime")
        ),
        ColSpec(Array(Array(DataType.double)), "array", required=False),
        ColSpec(OBJECT, "object"),
        ColSpec(Map(Array(OBJECT)), "map"),
        ColSpec(mlflow_schema.AnyType(), "any"),
        ColSpec(mlflow_schema.SparkMLVector(), "vector"),
        ColSpec(Array(mlflow_schema.AnyType()), "anything"),
    ]
)
TENSORS = mlflow_schema.Schema(
    [mlflow_schema.TensorSpec(np.dtype("float32"), (-1, 3), "a"), mlflow_schema.TensorSpec(np.dtype("O"), (-1,), "b")]
)
UNNAMED = mlflow_schema.Schema([ColSpec("double"), ColSpec("long")])
PARAMS = ParamSchema(
    [
        mlflow_schema.ParamSpec("word", "string", "x"),
        mlflow_schema.ParamSpec("whole", "integer", 1),
        mlflow_schema.ParamSpec("big", "long", 1),
        mlflow_schema.ParamSpec("share", "double", 0.5),
        mlflow_schema.ParamSpec("short", "float", 0.5),
        mlflow_schema.ParamSpec("flag", "boolean", default=False),
        mlflow_schema.ParamSpec("when", "datetime", np.datetime64("2026-01-01T00:00:00")),
        mlflow_schema.ParamSpec("list", "double", [1.0], (-1,)),
        mlflow_schema.ParamSpec("words", "string", ["a"], (-1,)),
        mlflow_schema.ParamSpec("thing", OBJECT, {"a": 1}),
    ]
)


@pytest.mark.parametrize("schema", [COLUMNS, TENSORS, UNNAMED])
def test_a_schema_survives_reading_and_writing(schema):
    mlmodel = MlflowSignature(inputs=schema, outputs=schema, params=PARAMS).to_dict()
    signature = ModelSignature.from_mlmodel(mlmodel)
    for found in (signature.inputs, signature.outputs):
        assert mlflow_schema.Schema.from_json(json.dumps(found.to_json())) == schema
        assert Schema.from_json(found.to_json()) == found
    assert signature.inputs.is_named == schema.has_input_names()
    assert [spec.name for spec in signature.params] == [spec.name for spec in PARAMS.params]


def test_a_model_without_a_signature_has_none():
    for stated in (None, {}, {"inputs": None, "outputs": None, "params": None}):
        assert ModelSignature.from_mlmodel(stated) == ModelSignature(None, None, ())


def test_an_optional_column_of_an_old_model_is_optional():
    schema = Schema.from_json([{"name": "a", "type": "long", "optional": True}, {"name": "b", "type": "long"}])
    assert [spec.required for spec in schema.columns] == [False, True]


def test_types_are_spoken_of_as_mlflow_does():
    texts = {spec.name: str(spec) for spec in Schema.from_json(COLUMNS.to_dict()).columns}
    assert texts["array"] == "Array(Array(double))"
    assert texts["map"] == "Map(string -> Array({a: long, b: Array(string) (optional)}))"
    assert texts["vector"] == "Array(double)"


def test_row_width_adds_up():
    assert Schema.from_json(COLUMNS.to_dict()).row_width == 8 + 4 + 8 + 4 + 1 + 64 + 64 + 8 + 6 * 64
    assert Schema.from_json(TENSORS.to_dict()).row_width == 3 * 4 + 64
    unknown = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, -1, 3]}}
    assert Schema.from_json([unknown]).row_width == 8 * 3


@pytest.mark.parametrize(
    "records",
    [
        [{"name": "a"}],
        [{"type": "decimal"}],
        [{"type": "array"}],
        [{"type": "array", "items": {"type": "what"}}],
        ["long"],
        [{"type": "tensor"}],
    ],
)
def test_what_mlflow_doesnt_write_is_a_usage_error(records):
    with pytest.raises(UsageError, match="signature"):
        Schema.from_json(records)
    with pytest.raises(UsageError, match="signature"):
        ModelSignature.from_mlmodel({"inputs": "{"})


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A real model with a params schema."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("echo") / "model"
    signature = MlflowSignature(params=PARAMS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for type hints and an input example

        class Echo(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):  # noqa: ARG002
                return [params]

        mlflow.pyfunc.save_model(folder, python_model=Echo(), signature=signature, pip_requirements=[])
        return mlflow.pyfunc.load_model(str(folder))


SPECS = ModelSignature.from_mlmodel({"params": PARAMS.to_json()}).params


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("word", "7", "7"),
        ("word", "", ""),
        ("whole", "7", 7),
        ("whole", "7.0", 7),
        ("big", "9007199254740993", 9007199254740993),
        ("share", "1", 1.0),
        ("share", "-1e-3", -0.001),
        ("short", "0.5", 0.5),
        ("flag", "true", True),
        ("when", "2026-01-31T10:11:12.5", dt.datetime(2026, 1, 31, 10, 11, 12, 500000)),  # noqa: DTZ001
        ("when", "2026-01-31T10:11:12+02:00", dt.datetime(2026, 1, 31, 8, 11, 12)),  # noqa: DTZ001
        ("when", "2026-01-31T10:11Z", dt.datetime(2026, 1, 31, 10, 11)),  # noqa: DTZ001
        ("when", "2026-01-31", dt.datetime(2026, 1, 31)),  # noqa: DTZ001
        ("list", "[1, 2.5]", [1.0, 2.5]),
        ("words", '["a", "7"]', ["a", "7"]),
        ("thing", '{"a": 7, "b": ["x"]}', {"a": 7, "b": ["x"]}),
    ],
)
def test_params_reach_the_model_as_they_are_meant(echo, name, text, expected):
    values = parse_params(SPECS, [(name, text)])
    assert json.loads(json.dumps(values)) == values
    (found,) = echo.predict(["row"], params=values)
    assert found[name] == expected
    assert type(found[name]) is type(expected)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wrod", "x", "did you mean 'word'"),
        ("zzz", "x", "the model has 'word', 'whole'"),
        ("whole", "1.5", "integer"),
        ("whole", "3000000000", "integer"),
        ("whole", "x", "integer"),
        ("whole", "true", "integer"),
        ("big", "1e30", "long"),
        ("share", '"1"', "double"),
        ("flag", "1", "boolean"),
        ("flag", "True", "boolean"),
        ("when", "01/02/2026", "datetime"),
        ("when", "2026-02-30", "datetime"),
        ("list", "1", "Array"),
        ("list", "[true]", "Array"),
        ("list", "[1", "JSON"),
        ("thing", '{"a": 1, "c": 1}', "no such property"),
        ("thing", "{}", "without"),
        ("share", "1e999", "double"),
        ("share", "9007199254740993", "double"),
        ("share", "1" + "0" * 400, "double"),
        ("whole", "NaN", "integer"),
        ("whole", "Infinity", "integer"),
    ],
)
def test_params_that_dont_fit_are_a_usage_error_that_says_what_does(name, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_params(SPECS, [(name, text)])
    assert repr(name) in str(caught.value)


def test_params_for_a_model_that_takes_none_are_a_usage_error():
    with pytest.raises(UsageError, match="no params schema"):
        parse_params((), [("a", "1")])


def test_a_param_given_twice_is_a_usage_error():
    with pytest.raises(UsageError, match="twice"):
        parse_params(SPECS, [("word", "a"), ("word", "b")])
