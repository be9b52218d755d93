"""Writes the plots of a simulation as one PNG, with matplotlib if that is installed; the HTML report needs nothing."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarmharness.errors import InputError, UnavailableError
from swarmharness.simulation.plots import Bars, plots_of
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.svg import COLOURS, short

CROWDED = 5
"""More names than this stand slantwise under their bars."""


def write_png(path: Path, scenario: Scenario, summary: Mapping[str, Any]) -> None:
    """Write the plots; raises UnavailableError without matplotlib, InputError if the file cannot be written."""
    try:
        importlib.import_module("matplotlib").use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise UnavailableError(
            "PNG plots need matplotlib: install swarmharness[plots], or write a report that ends in .html"
        ) from None
    plots = plots_of(summary)
    rows = -(-len(plots) // 2)
    figure, grid = pyplot.subplots(rows, 2, figsize=(12, 3.6 * rows), squeeze=False)
    cells = [axes for row in grid for axes in row]
    for axes, plot in zip(cells, plots, strict=False):
        axes.set_title(plot.title)
        axes.set_ylabel(plot.y_label)
        if isinstance(plot, Bars):
            bars = axes.bar(list(plot.bars), list(plot.bars.values()), color=COLOURS[0])
            axes.bar_label(bars, labels=[short(value) for value in plot.bars.values()], fontsize=8)
            axes.tick_params(axis="x", labelrotation=20 if len(plot.bars) > CROWDED else 0)
            continue
        for colour, (name, values) in zip(COLOURS, plot.lines.items(), strict=False):
            axes.plot(plot.x, [math.nan if value is None else value for value in values], label=name, color=colour)
        axes.set_xlabel(plot.x_label)
        axes.set_ylim(bottom=0)
        axes.legend()
    for axes in cells[len(plots) :]:
        axes.set_visible(False)
    figure.suptitle(f"{scenario.title}: {summary['nodes']} nodes, seed {summary['seed']}")
    figure.tight_layout()
    try:
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"cannot write the report {path}: {error.strerror or error}") from None
    finally:
        pyplot.close(figure)
