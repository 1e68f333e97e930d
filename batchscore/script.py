"""A scoring script in a worker: init(), run(mini_batch) and shutdown(), as an Azure ML batch deployment calls them."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from batchscore import writers
from batchscore.deployment import OutputAction
from batchscore.errors import AnswerRefused, ModelLoadError
from batchscore.minibatch import Json, MiniBatch
from batchscore.outcome import Column, Failure, Outcome, Scored
from batchscore.outputfolder import OutputFolder
from batchscore.settings import Format, Writer
from batchscore.stopwatch import Spent, Stopwatch
from batchscore.storage import local_copies
from batchscore.writers.parts import PartFile, part_errors


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """All that a worker needs to run a scoring script; JSON values."""

    code: str
    """Folder of the script: the working directory, and on the import path."""
    scoring_script: str
    """File below it."""
    arguments: tuple[str, ...]
    """What Azure passes on the command line."""
    model_dir: str
    """AZUREML_MODEL_DIR: a folder whose only entry is the model."""
    workers: str
    """Folder below which each worker has its own AZUREML_BI_OUTPUT_PATH."""
    parts: str
    reserved: tuple[str, ...]
    """Names in OUTPUT that the script can't give its own files."""
    format: Format
    writer: Writer
    output_action: OutputAction
    advice: str = ""
    """What to do where a package isn't installed."""

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Json) -> ScriptSettings:
        return cls(**{**record, "arguments": tuple(record["arguments"]), "reserved": tuple(record["reserved"])})


def load_script(setup: Json) -> ScriptScorer:
    """Import the script and call its init(); a worker's loader.

    Raises ModelLoadError where it has no run() or imports what isn't there, and whatever its code raises.
    """
    settings = ScriptSettings.from_json(setup)
    output = OutputFolder(settings.workers, settings.parts, settings.reserved)
    os.environ["AZUREML_MODEL_DIR"] = settings.model_dir
    os.environ["AZUREML_BI_OUTPUT_PATH"] = output.path
    _have_tracking(output.tracking)
    try:
        module = _imported(settings)
        if not callable(getattr(module, "run", None)):
            raise ModelLoadError(
                f"{settings.scoring_script} has no function run(mini_batch); a scoring script needs one"
            )
        _call(module, "init")
    except ModuleNotFoundError as error:
        raise ModelLoadError(_explained(error, settings)) from error
    output.settle()
    return ScriptScorer(module, settings, output)


def _explained(error: ModuleNotFoundError, settings: ScriptSettings) -> str:
    """What isn't there, what to do, and the script's own traceback."""
    frames = error.__traceback__ and error.__traceback__.tb_next
    lines = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    return (
        f"the scoring script {settings.scoring_script} can't be loaded with {sys.executable}: "
        f"{type(error).__name__}: {error}\n{settings.advice}\n\n{lines}"
    )


def _have_tracking(folder: str) -> None:
    """Give MLflow's tracking functions a place where nothing else says one.

    Azure sets one for each job. MLflow's own default is a database in the working directory, the user's folder, and
    mlflow-skinny has no databases.
    """
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ["MLFLOW_TRACKING_URI"] = Path(folder).as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")


def _imported(settings: ScriptSettings) -> ModuleType:
    """The script's module, under its file's name as if it had been imported, with all that it expects around it."""
    path = Path(settings.code, settings.scoring_script)
    sys.dont_write_bytecode = True  # the folder is the user's
    os.chdir(settings.code)
    sys.argv = [str(path), *settings.arguments]
    folders = dict.fromkeys((str(path.parent), settings.code))
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders)]
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else "scoring_script"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelLoadError(f"the scoring script {settings.scoring_script} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _call(module: ModuleType, name: str) -> None:
    """Call a function that a script need not have."""
    function = getattr(module, name, None)
    if callable(function):
        function()


class ScriptScorer:
    """A script whose init() has been called."""

    def __init__(self, module: ModuleType, settings: ScriptSettings, output: OutputFolder) -> None:
        self._module = module
        self._settings = settings
        self._output = output

    def facts(self) -> Json:
        return {}

    def close(self) -> None:
        try:
            _call(self._module, "shutdown")
        finally:
            self._output.tell_rest()

    def score(self, mini_batch: MiniBatch, progress: Callable[[int], None]) -> Outcome:  # noqa: ARG002 (all or nothing)
        """What became of a mini-batch: its part is what run() returned, beside it lie the files that it wrote.

        Raises AnswerRefused for a result that is no list, tuple or DataFrame and for files that can't be published,
        and whatever run() raises; then nothing that it wrote is left.
        """
        begun, watch = time.perf_counter(), Stopwatch("read")
        try:
            with local_copies([piece.file for piece in mini_batch.slices]) as paths:
                watch.turn_to("predict")
                result = self._module.run(paths)
                watch.turn_to("write")
            rows = _length(result)
            scored, columns = self._collected(mini_batch, result, rows)
            files, appended = self._output.keep(mini_batch.files_name)
        finally:
            self._output.reset()
        first, *others = mini_batch.slices
        return Outcome(
            mini_batch.number,
            (Scored(first, rows, *scored), *(Scored(piece, 0, "", 0, 0) for piece in others)),
            columns,
            seconds=time.perf_counter() - begun,
            files=files,
            appended=appended,
            shortfall=_shortfall(mini_batch, rows),
            spent=Spent.of(watch),
        )

    def _collected(
        self, mini_batch: MiniBatch, result: Any, rows: int
    ) -> tuple[tuple[str, int, int], tuple[Column, ...]]:
        """Where the result stands: the part's name, start and stop; and the part's columns."""
        settings = self._settings
        if settings.output_action == "summary_only" or not rows:
            return ("", 0, 0), ()
        name = f"{mini_batch.part_name}.{settings.format}"
        path = str(Path(settings.parts, name))
        if settings.writer == "headerless":
            return (name, 0, _write_lines(path, result)), ()
        with writers.open_part(settings.writer, path, {}) as part:
            part.write(_table(result, rows))
        return (name, 0, part.position(rows)), part.columns


def _length(result: Any) -> int:
    if isinstance(result, (list, tuple)) or _is_frame(result):
        return len(result)
    raise AnswerRefused(
        f"run() returned {_article(type(result).__name__)}; a scoring script returns a list or a pandas DataFrame "
        "with an element or a row for each file, or more"
    )


def _article(kind: str) -> str:
    return "None" if kind == "NoneType" else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _is_frame(result: Any) -> bool:
    """Whether it is a DataFrame: then the script has imported pandas, which costs half a second."""
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)
    return frame is not None and isinstance(result, frame)


def _write_lines(path: str, result: Any) -> int:
    """Write what Azure appends: `str(x)` of each element, or rows with spaces between; how many bytes that is."""
    if _is_frame(result):
        lines = [result.to_csv(sep=" ", header=False, index=False, lineterminator="\n")]
    else:
        lines = [f"{element}\n" for element in result]
    part = PartFile(path)
    try:
        with part_errors("write", path):
            part.stream.writelines(line.encode("utf-8", "backslashreplace") for line in lines)
            size = int(part.stream.tell())
        part.publish()
    finally:
        part.discard()
    return size


def _table(result: Any, rows: int) -> Any:
    """The result as a table with names and types; a frame's index means nothing, as in layout azure."""
    from batchscore.answers import columns_of

    answer = result.reset_index(drop=True) if _is_frame(result) else list(result)
    return columns_of(answer, rows, None).table


def _shortfall(mini_batch: MiniBatch, rows: int) -> Failure | None:
    """Fewer elements than files: the difference counts as failed files, as in Azure."""
    files = [piece.file.name for piece in mini_batch.slices]
    missing = len(files) - rows
    if missing <= 0:
        return None
    number = f"{rows or 'no'} element{'' if rows == 1 else 's'} for {len(files)} file{'' if len(files) == 1 else 's'}"
    unknown = f": {missing} failed, which ones it doesn't tell" if rows else ""
    return Failure.of_files(files, f"run() returned {number}{unknown}", missing)
