"""Contenders over one case, in turn, round after round; what they took and whether they agree."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import agreeing
from benchmarks.cases import Case
from benchmarks.contenders import ROOT, Contender
from benchmarks.environments import Unavailable, python_of
from benchmarks.measuring import Failed, Measure, measure

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """How things are measured."""

    folder: Path
    """Where data sets, models and environments lie."""
    runs: Path
    """Where outputs lie."""
    python: str
    """The interpreter of batchscore and of the contenders without an environment of their own."""
    rounds: int
    watches_memory: bool
    big: float
    """GB of the largest file, as CSV."""
    say: Say


@dataclass(slots=True)
class Course:
    """What one contender did in one case."""

    contender: Contender
    python: str
    measures: list[Measure] = field(default_factory=list)
    """Of the counted rounds."""
    memory: Measure | None = None
    """Of the first round, which isn't counted."""
    excuse: str = ""
    """Why it isn't in the race."""


@dataclass(slots=True)
class _Race:
    """A case in progress."""

    case: Case
    setting: Setting
    expected: Any = None
    """The first contender's predictions."""
    is_ordered: bool = True

    def take_turn(self, course: Course, number: int) -> None:
        """Measure a contender once; in round 0 its memory. One that fails, or disagrees with the first, is out."""
        try:
            measured, found = _run(self.case, course, self.setting, memory=number == 0)
            self._check(found, keeps_order=course.contender.keeps_order)
        except (Failed, agreeing.Disagreement) as error:
            course.excuse = str(error)
            self.setting.say(f"{self.case.name}: {course.contender.name} is out: {error}")
            return
        if number:
            course.measures.append(measured)
        else:
            course.memory = measured
        self.setting.say(_line(self.case, course, number, measured))

    def _check(self, found: Any, *, keeps_order: bool) -> None:
        if self.expected is None:
            self.expected, self.is_ordered = found, keeps_order
        is_ordered = keeps_order and self.is_ordered
        agreeing.check(found, self.expected, tolerance=self.case.tolerance, keeps_order=is_ordered)


def run_case(case: Case, contenders: Sequence[Contender], setting: Setting) -> dict[str, Any]:
    """Each contender once to warm up, its memory watched, then round after round, each time in another order."""
    make_what_is_missing(case, setting)
    courses = [_course(contender, setting) for contender in contenders if contender.takes(case)]
    race = _Race(case, setting)
    rounds = min(setting.rounds, case.most_rounds)
    for number in range(0 if setting.watches_memory else 1, rounds + 1):
        turn = number % max(len(courses), 1)
        for course in [*courses[turn:], *courses[:turn]]:
            if not course.excuse:
                race.take_turn(course, number)
    return {
        "model": case.model,
        "dataset": case.dataset.name,
        "rows": case.dataset.rows,
        "rounds": rounds,
        "contenders": {course.contender.name: _facts(course, courses) for course in courses},
    }


def make_what_is_missing(case: Case, setting: Setting) -> None:
    wanted = {case.model: setting.folder / "models" / case.model, case.dataset.name: case.dataset.path(setting.folder)}
    missing = [name for name, path in wanted.items() if not path.exists()]
    if missing:
        setting.say(f"making {', '.join(missing)}")
        subprocess.run([sys.executable, "-m", "benchmarks.making", str(setting.folder), *missing], cwd=ROOT, check=True)


def _course(contender: Contender, setting: Setting) -> Course:
    try:
        return Course(contender, python_of(contender.environment, setting.folder, setting.say) or setting.python)
    except Unavailable as reason:
        setting.say(f"{contender.name} is skipped: {reason}")
        return Course(contender, "", excuse=f"skipped: {reason}")


def _run(case: Case, course: Course, setting: Setting, *, memory: bool) -> tuple[Measure, Any]:
    """What one run took, and its predictions."""
    folder = setting.runs / course.contender.name
    shutil.rmtree(folder, ignore_errors=True)
    command = course.contender.command(course.python, case, setting.folder, folder / "output")
    measured = measure(command, course.contender.variables(), folder, memory=memory)
    return measured, agreeing.predictions(folder / "output")


def _line(case: Case, course: Course, number: int, measured: Measure) -> str:
    memory = f", {measured.pss >> 20:,} MB" if measured.pss else ""
    return (
        f"{case.name}, round {number}: {course.contender.name:<12} "
        f"{measured.wall:6.2f} s wall, {measured.cpu:6.2f} s CPU{memory}"
    )


def _facts(course: Course, courses: list[Course]) -> dict[str, Any]:
    """A contender's figures, and its ratios to batchscore and to the limit: the median of those round by round."""
    if course.excuse:
        return {"excuse": course.excuse}
    facts: dict[str, Any] = {"measures": [asdict(each) for each in course.measures]}
    for name in ("wall", "cpu"):
        values = [getattr(each, name) for each in course.measures]
        if values:
            facts[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    if course.memory:
        facts |= {name: getattr(course.memory, name) for name in ("pss", "rss", "first_rss")}
    facts["ratios"] = {
        other.contender.name: ratios
        for other in courses
        if other.contender.name in {"batchscore", "limit"} and (ratios := _ratios(course, other))
    }
    return facts


def _ratios(one: Course, other: Course) -> dict[str, float]:
    if one.excuse or other.excuse or not one.measures:
        return {}
    return {
        name: statistics.median(
            getattr(mine, name) / getattr(theirs, name)
            for mine, theirs in zip(one.measures, other.measures, strict=True)
        )
        for name in ("wall", "cpu")
    }
