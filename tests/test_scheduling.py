"""The lines of docs/scheduling.md, run as they stand where cron and systemd would run them."""

from __future__ import annotations

import configparser
import datetime as dt
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import ROOT

DOCUMENT = (ROOT / "docs" / "scheduling.md").read_text()
YESTERDAY = dt.date.today() - dt.timedelta(days=1)  # noqa: DTZ011 (the machine's day)
TODAY = dt.date.today()  # noqa: DTZ011

CRON_VARIABLES = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "nobody"}
"""cron sets HOME, too; here it is missing, as it is for systemd's services."""
SYSTEMD_VARIABLES = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "INVOCATION_ID": "0" * 32,
    "SYSTEMD_EXEC_PID": "1",
}


def blocks(name: str) -> list[str]:
    found = re.findall(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    assert found
    return found


def cron_commands() -> list[str]:
    """The commands of the crontab's lines, as cron takes them: from the sixth field on, an escaped `%` as `%`."""
    lines = [line for line in blocks("cron")[0].splitlines() if re.match(r"[\d*]", line)]
    commands = [line.split(maxsplit=5)[5] for line in lines]
    assert not [command for command in commands if re.search(r"(?<!\\)%", command)], "cron ends the command there"
    return [command.replace("\\%", "%") for command in commands]


def service() -> configparser.ConfigParser:
    return unit(blocks("systemd")[0])


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


Place = Callable[[str], str]


@pytest.fixture
def machine(tmp_path: Path, sample_models: Path, sample_data: Path) -> Place:
    """Puts what the documents call /srv and /opt/batchscore below tmp_path, for a command."""
    for day in (TODAY, YESTERDAY):
        shutil.copytree(sample_data / "breast_cancer", tmp_path / "srv/data" / day.isoformat())
    shutil.copytree(sample_models / "breast_cancer", tmp_path / "srv/models/churn")
    script = tmp_path / "opt/batchscore/bin/batchscore"
    script.parent.mkdir(parents=True)
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from batchscore.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)

    def placed(text: str) -> str:
        return text.replace("/srv/", f"{tmp_path}/srv/").replace("/opt/", f"{tmp_path}/opt/")

    return placed


def run_bare(arguments: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """In the root folder, without a terminal and with these variables alone."""
    return subprocess.run(
        arguments,
        cwd="/",
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        check=False,
    )


def by_cron(command: str) -> subprocess.CompletedProcess[str]:
    return run_bare(["/bin/sh", "-c", command], CRON_VARIABLES)


def by_systemd(line: str) -> subprocess.CompletedProcess[str]:
    """Without a shell; `%%` is a percent sign."""
    assert not re.search(r"[$;\\]|(?<!%)%(?!%)(?:%%)*(?!%)", line.replace("%%", "")), "systemd reads these itself"
    return run_bare([word.replace("%%", "%") for word in shlex.split(line)], SYSTEMD_VARIABLES)


def test_the_crontab_scores_each_day_and_says_nothing(machine: Place, tmp_path: Path) -> None:
    for command in cron_commands():
        done = by_cron(machine(command))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first = tmp_path / f"srv/scored/{YESTERDAY}"
    second = tmp_path / f"srv/weekly/{TODAY:%G-W%V}/{TODAY:%a}"
    assert {path.name for path in first.iterdir()} == {"predictions.csv", "job.json", "logs"}
    manifest = json.loads((first / "job.json").read_text())
    assert manifest["settings"]["date"] == YESTERDAY.isoformat()
    assert manifest["inputs"]["given"] == [str(tmp_path / f"srv/data/{YESTERDAY}")]
    assert manifest["counts"]["rows_scored"] == 569
    assert (second / "predictions.csv").read_text().splitlines()[1].split(",")[2] == TODAY.isoformat()
    again = by_cron(machine(cron_commands()[0]))
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_failure_at_night_tells_all_that_is_needed(machine: Place, tmp_path: Path) -> None:
    (tmp_path / f"srv/data/{YESTERDAY}/part-1.csv").write_bytes(b"\xff")
    scored = tmp_path / f"srv/scored/{YESTERDAY}"
    done = by_cron(machine(cron_commands()[0]))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("part-1.csv: ")
    assert lines[1].startswith("Failed: 1 file failed, more than the 0 that may")
    assert lines[2] == f"More about it: batchscore show {scored}"
    assert lines[-1].endswith(f" --date {YESTERDAY} --error-threshold -1"), "the same day on any day"
    assert "yesterday" not in lines[-1]
    show, publish = lines[2].partition(": ")[2], lines[-1]
    path = f"{tmp_path}/opt/batchscore/bin:/usr/bin:/bin"
    shown = run_bare(["/bin/sh", "-c", show], {"PATH": path})
    assert shown.stdout.startswith("Failed: ")
    assert "\nReasons of failure\n  1  " in shown.stdout
    published = run_bare(["/bin/sh", "-c", publish], {"PATH": path})
    assert published.returncode == 0, published.stderr
    assert (scored / "predictions.csv").exists()


def test_a_day_without_data_is_told(machine: Place, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / f"srv/data/{YESTERDAY}")
    done = by_cron(machine(cron_commands()[0]))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: INPUT {tmp_path}/srv/data/{YESTERDAY} isn't there; give a file, a folder or a glob\n"
    )
    assert list((tmp_path / "srv/scored").iterdir()) == []


def test_the_service_scores_without_a_home(machine: Place, tmp_path: Path) -> None:
    done = by_systemd(machine(service()["Service"]["ExecStart"]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / f"srv/scored/{YESTERDAY:%Y/%m/%d}/predictions.csv").exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_units(machine: Place, tmp_path: Path) -> None:
    for name, text in zip(("scoring.service", "scoring.timer"), blocks("systemd"), strict=True):
        (tmp_path / name).write_text(machine(text))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "scoring.service", tmp_path / "scoring.timer"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if "scoring" in line]
    assert complaints == []
    calendar = unit(blocks("systemd")[1])["Timer"]["OnCalendar"]
    subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, timeout=60, check=True)


def test_the_airflow_recipe_scores_the_day_of_the_run(
    machine: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow itself isn't here: what the recipe gives its operator is run by bash, once Jinja is done."""
    given: list[dict[str, object]] = []
    for name, contents in {
        "airflow": {},
        "airflow.sdk": {"DAG": Entered},
        "airflow.providers.standard.operators.bash": {"BashOperator": lambda **options: given.append(options)},
    }.items():
        stand_in(monkeypatch, name, **contents)
    exec(blocks("airflow")[0], {"__name__": "recipe"})
    command = str(given[0]["bash_command"]).replace("{{ ds }}", YESTERDAY.isoformat())
    done = run_bare(["bash", "-c", machine(command)], {"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / f"srv/scored/{YESTERDAY}/predictions.csv").exists()


def test_the_prefect_recipe_scores_yesterday(machine: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "prefect", task=lambda **_: lambda function: function, flow=lambda function: function)
    names: dict[str, Callable[[], int]] = {"__name__": "recipe"}  # type: ignore[dict-item]
    exec(machine(blocks("prefect")[0]), names)
    assert names["scoring"]() == 569
    assert (tmp_path / f"srv/scored/{YESTERDAY}/predictions.csv").exists()


class Entered:
    """A DAG as far as the recipe goes."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """A module of that name, and the packages above it."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        dotted = ".".join(parts[:length])
        if dotted not in sys.modules:
            monkeypatch.setitem(sys.modules, dotted, types.ModuleType(dotted))
    vars(sys.modules[name]).update(contents)


def test_the_commands_name_everything_by_absolute_paths() -> None:
    for command in [*cron_commands(), service()["Service"]["ExecStart"]]:
        words = shlex.split(command)
        places = [
            words[0],
            *(after for word, after in itertools.pairwise(words) if word in {"-m", "-i", "-o"}),
        ]
        assert all(os.path.isabs(place) for place in places), command  # noqa: PTH117
