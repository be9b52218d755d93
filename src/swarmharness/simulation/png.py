"""Writes the plots of a simulation as one PNG, with matplotlib if that is installed; the HTML report needs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarmharness.errors import InputError, UnavailableError
from swarmharness.simulation.scenario import Scenario


def write_png(path: Path, scenario: Scenario, summary: Mapping[str, Any]) -> None:
    """Write the plots; raises UnavailableError without matplotlib, InputError if the file cannot be written."""
    try:
        importlib.import_module("matplotlib").use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise UnavailableError(
            "PNG plots need matplotlib: install swarmharness[plots], or write a report that ends in .html"
        ) from None
    series, groups, traffic = summary["series"], summary["groups"], summary["traffic"]
    minutes = [at_s / 60 for at_s in series["at_s"]]
    bucket_s = series["bucket_us"][0] / 1e6
    figure, ((goodput, latency), (credit, share)) = pyplot.subplots(2, 2, figsize=(12, 8))
    for column in ("requests", "answered", "right"):
        goodput.plot(minutes, [count / bucket_s for count in series[column]], label=column)
    for column, name in (("p50_us", "median"), ("p99_us", "99th percentile")):
        latency.plot(minutes, [value / 1000 for value in series[column]], label=name)
    names = [name for name, group in groups.items() if group["nodes"]]
    balances = [
        (groups[name]["earned_microcredits"] - groups[name]["spent_microcredits"]) / 1e6 / groups[name]["nodes"]
        for name in names
    ]
    credit.bar(names, balances)
    kinds = list(traffic["by_kind"].items())[:8]
    share.barh([kind for kind, _ in kinds], [100 * count["bytes"] / max(1, traffic["bytes"]) for _, count in kinds])
    for axes, title in (
        (goodput, "requests a second, over minutes"),
        (latency, "latency in ms, over minutes"),
        (credit, "credits earned less spent, for each node"),
        (share, "percent of bytes by kind of message"),
    ):
        axes.set_title(title)
    goodput.legend()
    latency.legend()
    figure.suptitle(f"{scenario.title}: {summary['nodes']} nodes, seed {summary['seed']}")
    figure.tight_layout()
    try:
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"cannot write the report {path}: {error.strerror or error}") from None
    finally:
        pyplot.close(figure)
