"""The import rules of the house that docs/design.md draws, kept by reading every module's imports."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import LONGEST
from lower_bounds import LEFT_OUT

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "batchscore"

SAME_LAYER = {
    ("attempts", "halving"),
    ("channel", "minibatch"),
    ("child", "joblog"),
    ("child", "spawning"),
    ("cli", "headings"),
    ("cli", "options"),
    ("cli", "translating"),
    ("environments", "modelfolder"),
    ("estimating", "sampling"),
    ("examination", "planning"),
    ("examination", "sampling"),
    ("errors", "redaction"),
    ("glance", "sharedwork"),
    ("glance", "storelock"),
    ("glance", "storeworkspace"),
    ("glance", "workfolder"),
    ("glance", "workspace"),
    ("grace", "signals"),
    ("inputs", "readers"),
    ("interpreter", "child"),
    ("job", "deployment"),
    ("job", "settings"),
    ("limits", "errors"),
    ("loader", "child"),
    ("loader", "joblog"),
    ("loader", "spawning"),
    ("loading", "child"),
    ("joblog", "progress"),
    ("endings", "planning"),
    ("manifest", "endings"),
    ("manifest", "planning"),
    ("manifest", "timings"),
    ("memorywatch", "child"),
    ("outcome", "minibatch"),
    ("outcome", "stopwatch"),
    ("model", "answers"),
    ("readers", "writers"),
    ("observed", "worktime"),
    ("nursery", "child"),
    ("nursery", "joblog"),
    ("nursery", "loader"),
    ("nursery", "loading"),
    ("options", "headings"),
    ("planning", "observed"),
    ("planning", "resuming"),
    ("publishing", "endings"),
    ("publishing", "manifest"),
    ("provisioning", "planning"),
    ("publishing", "planning"),
    ("publishing", "scriptfiles"),
    ("receipts", "highlights"),
    ("receipts", "journal"),
    ("receipts", "plan"),
    ("receipts", "segments"),
    ("runner", "endings"),
    ("runner", "observed"),
    ("runner", "planning"),
    ("runner", "provisioning"),
    ("runner", "publishing"),
    ("runner", "resuming"),
    ("runner", "scriptfiles"),
    ("placing", "calls"),
    ("scoring", "calls"),
    ("scoring", "placing"),
    ("scoring", "seeding"),
    ("scoring", "setaside"),
    ("script", "answers"),
    ("outputfolder", "appends"),
    ("script", "outputfolder"),
    ("script", "writers"),
    ("scriptfiles", "planning"),
    ("findings", "inputs"),
    ("sampling", "planning"),
    ("sharing", "sharedwork"),
    ("shelf", "storage"),
    ("storeworkspace", "sharedwork"),
    ("storeworkspace", "sharing"),
    ("storeworkspace", "storelock"),
    ("storeworkspace", "workfolder"),
    ("storeworkspace", "workspace"),
    ("workspace", "sharing"),
    ("workspace", "workfolder"),
    ("signature", "settings"),
    ("signature", "schema"),
    ("slot", "child"),
    ("slot", "trust"),
    ("slot", "joblog"),
    ("slot", "loading"),
    ("slot", "nursery"),
    ("slots", "child"),
    ("slots", "joblog"),
    ("slots", "memorywatch"),
    ("slots", "nursery"),
    ("slots", "slot"),
    ("spawning", "scoring"),
    ("staging", "child"),
    ("summary", "readers"),
    ("summary", "plan"),
    ("summary", "receipts"),
    ("summary", "segments"),
    ("summary", "writers"),
    ("advice", "grain"),
    ("timings", "advice"),
    ("timings", "endings"),
    ("timings", "grain"),
    ("timings", "planning"),
    ("trial", "scoring"),
    ("validation", "estimating"),
    ("validation", "examination"),
    ("validation", "endings"),
    ("validation", "planning"),
    ("worktime", "joblog"),
    ("validation", "provisioning"),
    ("validation", "resuming"),
    ("validation", "sampling"),
    ("worker", "forking"),
}
"""(importer, imported) within one layer; a circle is refused all the same."""

FRAMES = {"signature", "readers", "writers", "model", "answers", "scoring", "calls", "placing", "setaside"}
DOORS = {
    "click": {"cli", "headings", "options", "translating"},
    "yaml": {"azure", "modelfolder"},
    "fsspec": {"storage"},
    "azure": {"storage"},
    "joblib": {"engines"},
    "mlflow": {"model"},
    "tqdm": {"progress"},
    "PIL": {"readers"},
    "pandas": FRAMES | {"summary"},
    "numpy": FRAMES,
    "pyarrow": FRAMES,
}
"""The modules that may import a library; a library that isn't here may not be imported at all."""

BESIDE_THE_MODEL = {
    *FRAMES, "worker", "trial", "entrylog", "channel", "lifeline", "schema", "minibatch", "errors", "redaction",
    "settings", "deployment", "versions", "script", "outputfolder", "limits", "appends", "storage", "stopwatch",
    "forking", "seeding", "outcome",
}  # fmt: skip
LIBRARIES_BESIDE_THE_MODEL = {"PIL", "mlflow", "pandas", "numpy", "pyarrow", "fsspec", "azure"}

WITHOUT_FRAMES_AND_MODELS = {
    "slots", "slot", "nursery", "loader", "loading", "child", "spawning", "attempts", "halving", "engines",
}  # fmt: skip
FRAMES_AND_MODELS = FRAMES | {"modelfolder"}

LATE = {
    ("", "face"),
    ("", "summary"),
    ("cli", "progress"),
    ("cli", "runner"),
    ("cli", "showing"),
    ("cli", "validation"),
    ("examination", "examining"),
    ("face", "deploying"),
    ("face", "runner"),
    ("face", "summary"),
    ("face", "validation"),
    ("engines", "engines"),
    ("translating", "deploying"),
    ("planning", "model"),
    ("validation", "trial"),
    ("readers", "readers"),
    ("script", "answers"),
    ("spawning", "scoring"),
    ("staging", "script"),
    ("storage", "storage"),
    ("writers", "writers"),
}
"""(importer, imported) of the house's modules that a function opens, or that are opened by name, when needed."""

SLOW = {"PIL", "mlflow", "pandas", "numpy", "pyarrow", "joblib", "fsspec", "azure", "tqdm", "yaml", "http", "ssl"}
"""Libraries that a function may import; nothing that `import batchscore` and `--help` do loads one."""


@dataclass(frozen=True)
class Import:
    """One import: which unit of the house ("" is batchscore itself) or which library, from where."""

    importer: str
    """A module's dotted name below batchscore: `readers.csv`; "" for batchscore itself."""
    imported: str
    is_ours: bool
    is_late: bool
    """Inside a function, or by name."""
    line: int
    is_by_name: bool = False
    """A text such as "batchscore.scoring:load", for whoever opens it."""

    @property
    def unit(self) -> str:
        """The importer's box in the house: a package is one."""
        return self.importer.partition(".")[0]

    @property
    def imported_unit(self) -> str:
        return self.imported.partition(".")[0]

    def __str__(self) -> str:
        return f"batchscore/{self.importer.replace('.', '/') or '__init__'}:{self.line} imports {self.imported}"


def modules_of(folder: Path) -> dict[str, str]:
    """Sources by dotted name below the package; a package's __init__ bears the package's name."""
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return sources


def imports_of(sources: Mapping[str, str]) -> list[Import]:
    return [
        found for name, source in sources.items() for found in _imports(name, ast.parse(source), sources, late=False)
    ]


def _imports(name: str, node: ast.AST, sources: Mapping[str, str], *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            targets = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"batchscore/{name}:{child.lineno} imports relatively; write the full name"
            pairs = [(child.module or "", alias.name) for alias in child.names]
            targets = [_target(*pair, sources) for pair in pairs if pair != ("batchscore", "__version__")]
        elif isinstance(child, ast.Constant):
            module = str(child.value).partition(":")[0].removeprefix("batchscore.")
            if str(child.value).startswith("batchscore.") and module in sources:
                yield Import(name, module, is_ours=True, is_late=True, line=child.lineno, is_by_name=True)
            continue
        else:
            inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(name, child, sources, late=inside)
            continue
        for target in dict.fromkeys(targets):
            is_ours = target == "batchscore" or target.startswith("batchscore.")
            imported = target.removeprefix("batchscore").removeprefix(".") if is_ours else target.partition(".")[0]
            yield Import(name, imported, is_ours, late, child.lineno)


def _target(module: str, name: str, sources: Mapping[str, str]) -> str:
    """`from batchscore import readers` imports a module; `from batchscore.job import Job` a name of one."""
    dotted = f"{module}.{name}"
    is_module = module.partition(".")[0] == "batchscore" and dotted.removeprefix("batchscore.") in sources
    return dotted if is_module else module


def house(text: str) -> dict[str, int]:
    """The layers that the drawing under "The house" gives: a digit opens one, a line's first word is a module."""
    drawing = text.split("## The house")[1].split("```")[1]
    layers = {"": 8}
    layer = 0
    for line in drawing.strip().splitlines():
        digit, name = re.match(r"(\d?) +([a-z_]+)/?\s", f"{line} ").groups()
        layer = int(digit or layer)
        layers[name] = layer
    return layers


def climbing(found: list[Import], layers: Mapping[str, int]) -> list[str]:
    """Imports that don't run down, but for the arrows within a layer."""
    return [
        f"{each}, which is not below it"
        for each in found
        if each.is_ours
        and each.unit != each.imported_unit
        and {each.unit, each.imported_unit} <= layers.keys()  # strangers have a test of their own
        and layers[each.unit] <= layers[each.imported_unit]
        and (layers[each.unit] < layers[each.imported_unit] or (each.unit, each.imported_unit) not in SAME_LAYER)
    ]


def circles(found: list[Import]) -> list[str]:
    """Modules from which imports lead back to them."""
    below: dict[str, set[str]] = {}
    for each in found:
        if each.is_ours and each.importer != each.imported:
            below.setdefault(each.importer, set()).add(each.imported)
    # A package opens its own modules late, and they take its types.
    edges = {name: {n for n in targets if not n.startswith(f"{name}.")} for name, targets in below.items()}
    return [name for name in edges if name in _reached_from(name, edges)]


def _reached_from(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    todo = list(edges[start])
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(edges.get(name, ()))
    return reached


def through_the_wrong_door(found: list[Import]) -> list[str]:
    """Imports of libraries where they don't belong."""
    return [
        str(each)
        for each in found
        if not each.is_ours
        and each.imported not in sys.stdlib_module_names
        and each.unit not in DOORS.get(each.imported, set())
    ]


def needlessly_late(found: list[Import]) -> list[str]:
    """Imports inside functions, but for slow libraries and what is listed."""
    return [
        str(each)
        for each in found
        if each.is_late
        and (
            (each.is_ours and (each.unit, each.imported_unit) not in LATE)
            or (not each.is_ours and each.imported not in SLOW)
        )
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return modules_of(PACKAGE)


@pytest.fixture(scope="module")
def found(sources: dict[str, str]) -> list[Import]:
    return imports_of(sources)


@pytest.fixture(scope="module")
def layers() -> dict[str, int]:
    return house((ROOT / "docs" / "design.md").read_text())


def test_every_module_has_its_place_in_the_house(sources, layers):
    strangers = {name.partition(".")[0] for name in sources} - set(layers)
    assert not strangers, f"docs/design.md gives no layer for {sorted(strangers)}; add them to the drawing of the house"


@pytest.mark.skipif(not (PACKAGE / "cli.py").exists(), reason="the house is being built: there is no batchscore.cli")
def test_every_module_of_the_house_exists(sources, layers):
    missing = set(layers) - {name.partition(".")[0] for name in sources}
    assert not missing, f"docs/design.md draws {sorted(missing)}, which batchscore doesn't have"


def test_imports_run_down(found, layers):
    assert climbing(found, layers) == []


def test_no_arrow_is_listed_in_vain(sources, found, layers):
    if set(layers) - {name.partition(".")[0] for name in sources}:
        pytest.skip("the house is being built")
    used = {(each.unit, each.imported_unit) for each in found if each.is_ours}
    assert SAME_LAYER - used == set(), "no module imports along these; take them out of SAME_LAYER"


def test_imports_lead_in_no_circle(found):
    assert circles(found) == []


def test_each_library_has_its_door(found):
    assert through_the_wrong_door(found) == []


def test_functions_import_only_what_is_slow(found):
    assert needlessly_late(found) == []


def test_what_runs_beside_the_model_stands_alone(found):
    leaving = [
        str(each)
        for each in found
        if each.unit in BESIDE_THE_MODEL
        and each.imported_unit not in BESIDE_THE_MODEL | LIBRARIES_BESIDE_THE_MODEL
        and each.imported not in sys.stdlib_module_names
        and (each.is_ours or each.imported not in LIBRARIES_BESIDE_THE_MODEL)
    ]
    assert leaving == []


def test_supervision_knows_nothing_of_frames_and_models(found):
    knowing = [
        str(each)
        for each in found
        if each.unit in WITHOUT_FRAMES_AND_MODELS
        and each.is_ours
        and not each.is_by_name
        and each.imported_unit in FRAMES_AND_MODELS
    ]
    assert knowing == []


def test_the_tables_of_this_test_name_modules_of_the_house(layers):
    named = (
        {name for pair in SAME_LAYER | LATE for name in pair}
        | set().union(*DOORS.values())
        | BESIDE_THE_MODEL
        | WITHOUT_FRAMES_AND_MODELS
    )
    assert named - set(layers) == set()


DRAWING = """## The house
```
3  top      what it is for
   side     what it is for
   aside/   csv  parquet    a package
2  middle/  inner  other      what they are for
1  low      what it is for
```
"""


@pytest.mark.parametrize(
    ("check", "sources"),
    [
        pytest.param("climbing", {"low": "from batchscore import top"}, id="an import upwards"),
        pytest.param("climbing", {"low": "def f():\n from batchscore.top import x"}, id="a late import upwards"),
        pytest.param("climbing", {"low": "loader = 'batchscore.top:load'"}, id="an import upwards by name"),
        pytest.param("climbing", {"side": "import batchscore.top"}, id="an import within a layer that isn't listed"),
        pytest.param("circles", {"low": "import batchscore.top", "top": "import batchscore.low"}, id="a circle"),
        pytest.param(
            "circles",
            {"middle.a": "from batchscore.middle import b", "middle.b": "from batchscore.middle.a import x"},
            id="a circle within a package",
        ),
        pytest.param("through_the_wrong_door", {"low": "import pandas.api"}, id="a library at another door"),
        pytest.param("through_the_wrong_door", {"low": "import requests"}, id="a library without a door"),
        pytest.param("needlessly_late", {"top": "def f():\n import batchscore.low"}, id="a module opened late"),
        pytest.param("needlessly_late", {"top": "def f():\n import json"}, id="a quick library opened late"),
    ],
)
def test_the_rules_refuse(check, sources):
    present = {"": "", "top": "", "side": "", "low": "", "middle": "", **sources}
    found = imports_of(present)
    complaints = {
        "climbing": lambda: climbing(found, house(DRAWING)),
        "circles": lambda: circles(found),
        "through_the_wrong_door": lambda: through_the_wrong_door(found),
        "needlessly_late": lambda: needlessly_late(found),
    }[check]()
    assert complaints


def test_the_drawing_is_read_as_drawn():
    assert house(DRAWING) == {"": 8, "top": 3, "side": 3, "aside": 3, "middle": 2, "low": 1}


def loaded_by(program: str, clean_environment: Mapping[str, str]) -> set[str]:
    """The top-level names of the modules that a fresh interpreter holds after a program."""
    report = "\nimport json, sys\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program + report],
        env=clean_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_batchscore_loads_nothing_slow(clean_environment):
    assert loaded_by("import batchscore", clean_environment) & SLOW == set()


@pytest.mark.skipif(not (PACKAGE / "cli.py").exists(), reason="the house is being built: there is no batchscore.cli")
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run"]], ids=" ".join)
def test_help_and_wrong_options_load_nothing_slow(arguments, clean_environment):
    program = (
        f"import sys\nsys.argv = ['batchscore', *{arguments}]\nfrom batchscore.cli import command_line\n"
        "try:\n    command_line()\nexcept SystemExit:\n    pass"
    )
    assert loaded_by(program, clean_environment) & SLOW == set()


def test_a_jobs_own_process_loads_neither_mlflow_nor_pandas(sample_models, sample_data, tmp_path, clean_environment):
    """It cuts Parquet, looks for columns to keep, counts rows and joins, and the worker is another process."""
    arguments = (
        f"model={str(sample_models / 'iris')!r}, inputs=({str(sample_data / 'iris')!r},), overwrite=True, "
        f"output={str(tmp_path / 'out')!r}, keep=('*',), mini_batch_size=MiniBatchSize(bytes=1024), limit=100"
    )
    program = (
        "from batchscore.job import Job\nfrom batchscore.runner import run_job\n"
        "from batchscore.settings import MiniBatchSize\n"
        "for form in ('parquet', 'jsonl'):\n"
        f" job = Job({arguments}, format=form, output_file_name='p.' + form)\n"
        " assert run_job(job).status == 'Completed'"
    )
    assert loaded_by(program, clean_environment) & {"mlflow", "pandas"} == set()


@pytest.mark.parametrize("layout", ["azure", "table"])
def test_the_process_of_a_scoring_scripts_job_loads_neither_mlflow_nor_pandas(layout, tmp_path, clean_environment):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("1")
    (tmp_path / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    arguments = (
        f"model='', inputs=({str(tmp_path / 'in')!r},), output={str(tmp_path / 'out')!r}, layout={layout!r}, "
        f"mini_batch_size=MiniBatchSize(files=1), script=Script({str(tmp_path)!r}, 'score.py')"
    )
    program = (
        "from batchscore.job import Job, Script\nfrom batchscore.runner import run_job\n"
        "from batchscore.settings import MiniBatchSize\n"
        f"assert run_job(Job({arguments})).status == 'Completed'"
    )
    assert loaded_by(program, clean_environment) & {"mlflow", "pandas"} == set()


def test_modules_that_are_named_for_their_time_or_left_out_of_a_run_are_there():
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert {*LEFT_OUT, *(f"test_{name}.py" for name in LONGEST)} - there == set()


def test_what_runs_a_job_loads_nothing_for_networks_frames_or_engines_before_they_are_needed(clean_environment):
    """A job from one local CSV to another meets no network, and its own process never touches a frame."""
    loaded = loaded_by("import batchscore.cli, batchscore.runner", clean_environment)
    assert loaded & ((SLOW - {"yaml"}) | {"email"}) == set()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux shows them")
def test_the_command_s_own_process_starts_no_threads_for_numpy(clean_environment):
    """It calculates nothing: idle threads cost a third of importing NumPy. Garbage is sought seldom."""
    program = """
import gc, os, sys
from batchscore import cli
sys.argv = ["batchscore", "--help"]
os._exit = lambda code: None
cli.main()
import numpy
assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
assert gc.get_threshold()[0] == cli.OBJECTS_BETWEEN_COLLECTIONS
"""
    environment = {name: value for name, value in clean_environment.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, timeout=60)
