"""Results as text: tables for the terminal and for docs/performance.md."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environments import Unavailable, python_of

BEGIN, END = "<!-- results: written by the benchmark -->", "<!-- end of the results -->"
HEAD = (
    "",
    "wall s",
    "from-to",
    "CPU s",
    "from-to",
    "PSS MB",
    "RSS MB",
    "first MB",
    "wall / limit",
    "CPU / limit",
    "wall / batchscore",
)
FIGURES_HEAD = (
    "",
    "",
    "rows",
    "PSS MB",
    "of the first",
    "first MB",
    "wall s",
    "CPU s",
    "CPU / wall",
    "threads at work",
    "busy",
    "tail",
)
DRAWING = Path(__file__).with_name("plotting.py")


def case_text(name: str, facts: dict[str, Any]) -> str:
    """A case as a table for the terminal."""
    rows = [HEAD, *(_row(contender, found) for contender, found in facts["contenders"].items())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    excuses = [f"{each}: {found['excuse']}" for each, found in facts["contenders"].items() if "excuse" in found]
    return "\n".join([_title(name, facts), *lines, *excuses])


def _title(name: str, facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    busy = f", beside other work (load {machine['load']})" if machine["load"] > machine["cores"] / 2 else ""
    what = f"{name}: {facts['rows']:,} rows, {facts['dataset']}, {facts['rounds']} rounds"
    return f"{what}, {machine['date']}, commit {machine['commit']}{busy}"


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one contender."""
    if "excuse" in found or "wall" not in found:
        return (name, *["-"] * (len(HEAD) - 1))
    times = []
    for each in (found["wall"], found["cpu"]):
        times += [f"{each['median']:.2f}", f"{each['least']:.2f}-{each['most']:.2f}"]
    memory = [_megabytes(found[each]) if each in found else "-" for each in ("pss", "rss", "first_rss")]
    wanted = (("limit", "wall"), ("limit", "cpu"), ("batchscore", "wall"))
    ratios = (found["ratios"].get(other, {}).get(kind) for other, kind in wanted)
    return (name, *times, *memory, *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios))


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def merged(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The results that were kept, with what was measured anew in their place."""
    before = json.loads(path.read_text()) if path.exists() else {}
    return {**before, **{kind: {**before.get(kind, {}), **found} for kind, found in results.items()}}


def inserted(document: str, results: dict[str, Any]) -> str:
    """The document with these results in its marked section."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the lines {BEGIN} and {END}")
    return f"{head}{begin}\n\n{_markdown(results)}\n{end}{tail}"


def draw(results: Path, plot: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Make the plot, in an environment that has matplotlib; says so where that can't be had."""
    try:
        python = python_of("plot", folder, say)
    except Unavailable as reason:
        say(f"no plot is drawn: {reason}")
        return
    subprocess.run([python, str(DRAWING), str(results), str(plot)], check=True)


def _markdown(results: dict[str, Any]) -> str:
    pieces = []
    if facts := next((facts for kind in results.values() for facts in kind.values()), None):
        pieces.append(_machine(facts["machine"]))
    for kind, title in (("cases", "The same work by other means"), ("peers", "Other tools")):
        if results.get(kind):
            pieces.append(f"### {title}")
            pieces += [_case_markdown(name, facts) for name, facts in results[kind].items()]
    if results.get("figures"):
        pieces.append(f"### Memory, and what stands still\n\n{_figures_markdown(results['figures'].values())}")
    if results.get("sweeps"):
        pieces.append(f"### Throughput\n\n![rows a second](performance.svg)\n\n{_sweeps_markdown(results['sweeps'])}")
    return "\n\n".join(pieces) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; {versions}."


def _case_markdown(name: str, facts: dict[str, Any]) -> str:
    rows = [_row(contender, found) for contender, found in facts["contenders"].items()]
    excuses = [
        f"{each}: {' '.join(found['excuse'].split())[:200]}"
        for each, found in facts["contenders"].items()
        if "excuse" in found
    ]
    return "\n\n".join([f"**{_title(name, facts)}**", _table(HEAD, rows), *excuses])


def _figures_markdown(figures: Iterable[dict[str, Any]]) -> str:
    rows = [_figure_row(figure, run) for figure in figures for run in figure["runs"]]
    return _table(FIGURES_HEAD, rows)


def _figure_row(figure: dict[str, Any], run: dict[str, Any]) -> tuple[str, ...]:
    """A run; its memory as a multiple of that of the figure's first run, too."""
    times = [f"{run['wall']:.2f}", f"{run['cpu']:.2f}"]
    if "pss" not in run:
        return (figure["title"], run["label"], *["-"] * 4, *times, *["-"] * 4)
    first = figure["runs"][0]
    grown = f"{run['pss'] / first['pss']:.2f}"
    at_work = [f"{run['cpu'] / run['wall']:.2f}", f"{run['running']:.0f}"]
    shares = [f"{run[name]:.1%}" for name in ("busy", "tail")]
    sizes = [_megabytes(run[name]) for name in ("pss", "first_rss")]
    return (figure["title"], run["label"], f"{run['rows']:,}", sizes[0], grown, sizes[1], *times, *at_work, *shares)


def _sweeps_markdown(sweeps: dict[str, Any]) -> str:
    rows = []
    for sweep in sweeps.values():
        for name, points in sweep["lines"].items():
            for point in points:
                cells = (f"{point['value']:,}", f"{point['rows_per_second']:,.0f}", f"{point['cpu_per_million']:.2f}")
                rows.append((sweep["label"], name, *cells))
    return _table(("", "", "value", "rows/s", "CPU s per million rows"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
