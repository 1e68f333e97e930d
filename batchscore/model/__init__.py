"""A pyfunc model from a local folder: load it, call it, make columns of its answers. The only door to MLflow."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchscore.answers import Columns, columns_of
from batchscore.errors import ModelLoadError, UsageError
from batchscore.model.registry import resolve
from batchscore.model.requirements import explained
from batchscore.model.threads import ThreadsUsed, limit_threads, prepare_threads
from batchscore.schema import ModelSignature, Schema
from batchscore.stopwatch import Stopwatch

__all__ = ["Model", "load", "open_libraries", "resolve"]

_ALSO_PREDICT = ("decision_function", "score_samples", "transform", "forecast")
"""Methods that answer for each row although `predict` isn't in their names."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what its signature says."""

    inputs: Schema | None
    outputs: Schema | None
    """Of `predict`; None where another method is called, because the signature doesn't describe its answer."""
    classes: tuple[Any, ...] | None
    """The estimator's `classes_` where `predict_proba` is called."""
    params: Mapping[str, Any]
    _pyfunc: Any
    threads: ThreadsUsed = field(default_factory=ThreadsUsed)
    watch: Stopwatch = field(default_factory=lambda: Stopwatch("write"))
    """Is in the stage `predict` while the model itself is at work."""

    def predict(self, model_input: Any) -> Any:
        """What the model answers to an input of at least one row; MLflow enforces the signature first."""
        return (
            self._pyfunc.predict(model_input, params=dict(self.params))
            if self.params
            else self._pyfunc.predict(model_input)
        )

    def columns(self, answer: Any, rows: int) -> Columns:
        """The answer to ``rows`` input rows as named and typed columns; AnswerRefused where it can't be."""
        return columns_of(answer, rows, self.outputs, self.classes)


def load(
    path: str,
    *,
    predict_fn: str = "predict",
    params: Mapping[str, Any] | None = None,
    threads: int = 1,
    env_manager: str = "local",
) -> Model:
    """The model in a local folder, with ``threads`` threads for its libraries and its estimators.

    Raises ModelLoadError with the model's own traceback and its requirements, and with what to do about them where
    this environment was made by ``env_manager``; and UsageError where the model has no method ``predict_fn``, listing
    those it has.
    """
    try:
        open_libraries()
        import mlflow.pyfunc

        with _no_traces():
            prepare_threads(path, threads)
            loaded = mlflow.pyfunc.load_model(os.path.abspath(path), suppress_warnings=True)  # noqa: PTH100  # links stay as they are
            stated = loaded.metadata.signature.to_dict() if loaded.metadata.signature is not None else None
    except BaseException as error:  # a model's code may raise anything
        raise ModelLoadError(explained(error, path, env_manager)) from error
    signature = ModelSignature.from_mlmodel(stated)
    raw = _raw(loaded)
    used = limit_threads(raw, threads)
    if predict_fn == "predict":
        return _timed(Model(signature.inputs, signature.outputs, None, dict(params or {}), loaded, used))
    method = _Method(_method(raw, loaded, predict_fn))
    # PyFuncModel enforces the signature before it calls the method that it is told to.
    enforcing = mlflow.pyfunc.PyFuncModel(model_meta=loaded.metadata, model_impl=method, predict_fn="call")
    classes = _classes(raw) if predict_fn == "predict_proba" else None
    return _timed(Model(signature.inputs, None, classes, dict(params or {}), enforcing, used))


def _timed(model: Model) -> Model:
    """The model, whose watch tells its own work from MLflow's enforcement."""
    pyfunc = model._pyfunc  # noqa: SLF001  # this module's
    with contextlib.suppress(AttributeError):  # another version's interface: all of it is enforcement then
        pyfunc._predict_fn = model.watch.timed("predict", pyfunc._predict_fn)  # noqa: SLF001  # no other way in
    return model


def open_libraries() -> None:
    """Import MLflow, which takes more than a second."""
    with _no_traces(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's about itself; the model's own are shown
        import mlflow.pyfunc  # noqa: F401


@contextlib.contextmanager
def _no_traces() -> Iterator[None]:
    """No bytecode is written into the model's folder, and no garbage sought among all that loading makes."""
    before, collects = sys.dont_write_bytecode, gc.isenabled()
    sys.dont_write_bytecode = True
    gc.disable()
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        if collects:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Method:
    """A method in the place where PyFuncModel expects a model."""

    call: Any


def _raw(loaded: Any) -> Any:
    """What MLflow wraps: an estimator, a booster, the user's PythonModel; the wrapper itself where there is nothing."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(NotImplementedError, MlflowException, AttributeError):  # MLflow has it from 2.16 on
        return loaded.get_raw_model()
    try:
        return loaded.unwrap_python_model()
    except MlflowException:
        return loaded._model_impl  # noqa: SLF001  # MLflow keeps this one stable for developers


def _method(raw: Any, loaded: Any, name: str) -> Any:
    """The method of the underlying model; a PythonModel's gets its context where it asks for one."""
    try:
        method = getattr(raw, name)
    except AttributeError as error:
        raise _no_such_method(raw, name, str(error)) from error
    if not callable(method):
        raise _no_such_method(raw, name, f"{name} isn't callable")
    with contextlib.suppress(ValueError, TypeError):  # not every callable has a signature
        if next(iter(inspect.signature(method).parameters), None) == "context":
            return functools.partial(method, loaded._model_impl.context)  # noqa: SLF001  # stable for developers
    return method


def _no_such_method(raw: Any, name: str, reason: str) -> UsageError:
    there = [
        method
        for method in dir(raw)
        if not method.startswith(("_", "fit_", "set_"))
        and ("predict" in method or method in _ALSO_PREDICT)
        and _is_callable(raw, method)
    ]
    module = type(raw).__module__
    # MLflow makes up the name of a model's own module
    kind = f"{'' if module.startswith('code_model_') else f'{module}.'}{type(raw).__qualname__}"
    return UsageError(
        f"the model is a {kind}, which has no method {name} ({reason}); "
        + (f"it has {', '.join(there)}" if there else "it has no method for predictions but MLflow's predict")
    )


def _is_callable(raw: Any, name: str) -> bool:
    """Some estimators list methods that their settings don't allow: asking for these fails in ways of their own."""
    try:
        return callable(getattr(raw, name))
    except Exception:  # noqa: BLE001  # a property of a class that isn't ours
        return False


def _classes(raw: Any) -> tuple[Any, ...] | None:
    """`classes_` of the estimator, or of a pipeline's last step."""
    steps = getattr(raw, "steps", None)
    candidates = [raw, steps[-1][1]] if isinstance(steps, Sequence) and steps else [raw]
    for candidate in candidates:
        classes = getattr(candidate, "classes_", None)
        if classes is not None:
            return tuple(classes)
    return None
