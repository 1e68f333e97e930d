"""Draws throughput against workers, file size and rows per call: `python plotting.py RESULTS.json PLOT.svg`.

It runs in an environment with matplotlib, and needs nothing else of the benchmark.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "batchscore"  # the same results give the same bytes

import matplotlib.pyplot as plt


def draw(sweeps: dict[str, Any], target: Path) -> None:
    """A panel for each sweep, a line for each model and format."""
    figure, panels = plt.subplots(1, len(sweeps), figsize=(4 * len(sweeps), 3.4), squeeze=False, layout="constrained")
    for panel, sweep in zip(panels[0], sweeps.values(), strict=True):
        for name, points in sweep["lines"].items():
            values = [point["value"] for point in points]
            panel.plot(values, [point["rows_per_second"] for point in points], marker="o", label=name)
        panel.set_xlabel(sweep["label"])
        panel.set_xscale("log", base=2 if max(values) < 100 else 10)  # noqa: PLR2004  # few values
        panel.set_xticks(values, [f"{value:,}" for value in values])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("rows a second")
    panels[0][-1].legend(fontsize="small")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["sweeps"], Path(sys.argv[2]))
