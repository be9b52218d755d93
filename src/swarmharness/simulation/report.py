"""Writes what a simulation showed as one HTML file with its plots inside; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from swarmharness.errors import InputError
from swarmharness.simulation.plots import Bars, Lines, plots_of
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.summary import GROUP_COLUMNS, group_rows
from swarmharness.simulation.svg import bar_chart, line_chart


def write_html(path: Path, scenario: Scenario, summary: Mapping[str, Any]) -> None:
    """Write the report; raises InputError if the file cannot be written."""
    try:
        path.write_text(html(scenario, summary), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the report {path}: {error.strerror or error}") from None


def html(scenario: Scenario, summary: Mapping[str, Any]) -> str:
    """Return the report."""
    requests, traffic = summary["requests"], summary["traffic"]
    facts = [
        ("nodes", summary["nodes"]),
        ("virtual hours", f"{summary['hours']:g}"),
        ("seed", summary["seed"]),
        ("requests", f"{requests['ended']} ended, {requests['answered']} answered, {requests['right']} rightly"),
        ("latency", f"median {requests['p50_us'] / 1000:.0f} ms, 99% within {requests['p99_us'] / 1000:.0f} ms"),
        ("messages for each node and hour", traffic["messages_per_node_hour"]),
        ("bytes for each node and hour", traffic["bytes_per_node_hour"]),
        ("events, steps, audits", f"{summary['events']}, {summary['steps']}, {summary['audits']}"),
        ("trace digest", summary["trace_digest"]),
    ]
    sections = [f"<h2>{escape(plot.title)}</h2>{_drawn(plot)}" for plot in plots_of(summary)]
    problems = [violation["invariant"] + ": " + violation["text"] for violation in summary["violations"]]
    problems += summary["unmet"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(scenario.title)}</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#24292f}"
        "table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left}svg{width:100%}</style>"
        f"<h1>{escape(scenario.title)}</h1><p>{escape(scenario.shows.strip())}</p>"
        + _table(("", ""), facts)
        + ("<h2>What does not hold</h2>" + _table(("",), [(text,) for text in problems]) if problems else "")
        + "".join(sections)
        + "<h2>Kinds of nodes</h2>"
        + _table(GROUP_COLUMNS, group_rows(summary))
        + "</html>\n"
    )


def _drawn(plot: Lines | Bars) -> str:
    if isinstance(plot, Bars):
        return bar_chart(plot.bars, y_label=plot.y_label)
    return line_chart(plot.x, plot.lines, x_label=plot.x_label, y_label=plot.y_label)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    header = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>" if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{header}{body}</table>"
