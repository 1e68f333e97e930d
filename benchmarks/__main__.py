"""The command line: `python -m benchmarks` from the repository's folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import figures, machine, report, sweeps
from benchmarks.cases import CASES, Case
from benchmarks.contenders import BATCHSCORE, ROOT, Contender, chosen
from benchmarks.rounds import Setting, run_case

DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "docs" / "performance.json"
PLOT = ROOT / "docs" / "performance.svg"


def main(arguments: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.draw:
        _document(json.loads(RESULTS.read_text()), options.folder)
        return 0
    names = [name for each in options.only for name in each.split(",")]
    known = [*(case.name for case in CASES), *figures.FIGURES, *sweeps.SWEEPS]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"nothing is called {unknown[0]!r} to measure: there are {', '.join(known)}")
    try:
        contenders = [*chosen(options.contenders, with_peers=options.peers), *map(_other, options.also)]
    except ValueError as error:
        parser.error(str(error))
    contenders = [replace(each, source=options.source) if each is BATCHSCORE else each for each in contenders]
    wanted = Wanted(names, _kept(contenders, options.python) if options.resume else {})
    folder = options.folder.resolve()
    runs = (options.runs or folder / "runs").resolve()
    setting = Setting(folder, runs, options.python, options.rounds, not options.no_memory, options.big, _say)
    saved = runs / "results.json"
    runs.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for kind, name, found in _measured(options, wanted, contenders, setting):
        results.setdefault(kind, {})[name] = found
        saved.write_text(json.dumps(results, indent=1) + "\n")
        if options.document and not options.quick:  # at once: a run that is stopped has done something
            _document(report.merged(RESULTS, {kind: {name: found}}), folder)
    print(f"saved in {saved}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures batchscore against others.")
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="NAME,…", help="cases, figures and sweeps; default: all")
    add("--contenders", default="", metavar="NAME,…", help="default: batchscore, limit, loop, joblib")
    add("--peers", action="store_true", help="also daft, dask, mlflow, ray and spark, in environments made with uv")
    add("--rounds", type=int, default=5, help="counted rounds; 5")
    add("--big", type=float, default=2.0, metavar="GB", help="size of the largest file, as CSV; 2")
    add("--no-memory", action="store_true", help="leave out the first round, in which memory is watched")
    add("--resume", action="store_true", help="leave out what docs/performance.json has of this commit")
    add("--quick", action="store_true", help="a fiftieth of the data, to see whether everything works")
    add(
        "--folder", type=Path, default=ROOT / ".bench", help="for data, models and environments, which are kept; .bench"
    )
    add("--runs", type=Path, help="for outputs and results, which are replaced; a folder of that one")
    add("--python", default=sys.executable, help="interpreter of batchscore, the limit and the loops; the running one")
    add(
        "--source",
        type=Path,
        default=ROOT,
        help="the folder that holds the package batchscore to measure; this repository",
    )
    add("--also", action="append", default=[], metavar="NAME=FOLDER", help="another batchscore, side by side")
    add("--document", action="store_true", help="put the results into docs/performance.md; not with --quick")
    add("--draw", action="store_true", help="write docs/performance.md and its plot again from the last results")
    return parser


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured."""

    names: list[str]
    """All where there is none."""
    kept: dict[str, set[str]]
    """What there is already, by kind."""

    def has(self, kind: str, name: str) -> bool:
        return (name in self.names or not self.names) and name not in self.kept.get(kind, ())


def _kept(contenders: list[Contender], python: str) -> dict[str, set[str]]:
    """What the document shows of this commit, cases with all of these contenders that take them."""
    if not RESULTS.exists():
        return {}
    commit = machine.facts(python)["commit"]
    takers = {case.name: {each.name for each in contenders if each.takes(case)} for case in CASES}

    def is_done(name: str, facts: dict[str, Any]) -> bool:
        missing = takers.get(name, set()) - set(facts["contenders"]) if "contenders" in facts else None
        return facts["machine"]["commit"] == commit and not missing

    return {
        kind: {name for name, facts in found.items() if is_done(name, facts)}
        for kind, found in json.loads(RESULTS.read_text()).items()
    }


def _measured(
    options: argparse.Namespace, wanted: Wanted, contenders: list[Contender], setting: Setting
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What was asked for, one after the other: kind, name, and what was found with the machine it was found on."""

    def shrink(case: Case) -> Case:
        return case.smaller() if options.quick else case

    def where() -> dict[str, Any]:
        return {"machine": machine.facts(setting.python), "is_quick": options.quick}

    kind_of_cases = "peers" if options.peers else "cases"
    for case in map(shrink, CASES):
        if wanted.has(kind_of_cases, case.name):
            found = {**where(), **run_case(case, contenders, setting)}
            print(report.case_text(case.name, found), flush=True)
            yield kind_of_cases, case.name, found
    batchscore = replace(BATCHSCORE, source=options.source)
    for kind, takes in (("figures", figures.FIGURES), ("sweeps", sweeps.SWEEPS)):
        for name, take in takes.items():
            if wanted.has(kind, name) and (wanted.names or not options.peers):
                yield kind, name, {**where(), **take(batchscore, setting, shrink)}


def _other(text: str) -> Contender:
    name, equals, folder = text.partition("=")
    if not equals or not (Path(folder) / "batchscore").is_dir():
        raise ValueError(f"--also {text}: expected NAME=FOLDER, with the package batchscore in FOLDER")
    return replace(BATCHSCORE, name=name, source=Path(folder).resolve())


def _document(results: dict[str, Any], folder: Path) -> None:
    """Write the results, the section of the document that shows them, and the plot."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    DOCUMENT.write_text(report.inserted(DOCUMENT.read_text(), results))
    if results.get("sweeps"):
        report.draw(RESULTS, PLOT, folder, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
