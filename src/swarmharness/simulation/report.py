"""Writes what a simulation showed as one HTML file with its plots inside; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from swarmharness.errors import InputError
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.summary import GROUP_COLUMNS, group_rows
from swarmharness.simulation.svg import bar_chart, line_chart

KINDS_SHOWN = 7


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
    sections = [f"<h2>{escape(title)}</h2>{svg}" for title, svg in charts(summary)]
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


def charts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the plots, each with its title."""
    series, groups, traffic = summary["series"], summary["groups"], summary["traffic"]
    minutes = [at_s / 60 for at_s in series["at_s"]]
    bucket_s = series["bucket_us"][0] / 1e6
    rates = {
        name: [count / bucket_s for count in series[column]]
        for name, column in (("requests", "requests"), ("answered", "answered"), ("right", "right"))
    }
    waits = {
        "median": [value / 1000 for value in series["p50_us"]],
        "99th percentile": [value / 1000 for value in series["p99_us"]],
    }
    total = max(1, traffic["bytes"])
    kinds = list(traffic["by_kind"].items())
    shares = {kind: 100 * count["bytes"] / total for kind, count in kinds[:KINDS_SHOWN]}
    if kinds[KINDS_SHOWN:]:
        shares["others"] = 100 * sum(count["bytes"] for _, count in kinds[KINDS_SHOWN:]) / total
    hours = max(1e-9, summary["hours"])
    each = {name: group["nodes"] * hours for name, group in groups.items() if group["nodes"]}
    credit = {
        name: (group["earned_microcredits"] - group["spent_microcredits"]) / 1e6 / group["nodes"]
        for name, group in groups.items()
        if group["nodes"]
    }
    return [
        ("Goodput over time", line_chart(minutes, rates, x_label="minutes", y_label="requests a second")),
        ("Latency over time", line_chart(minutes, waits, x_label="minutes", y_label="milliseconds")),
        ("Credit by kind of node: earned less spent, for each node", bar_chart(credit, y_label="credits")),
        ("Share of traffic by kind of message", bar_chart(shares, y_label="percent of bytes")),
        (
            "Messages of each node, by kind of node",
            bar_chart({name: groups[name]["messages"] / count for name, count in each.items()}, y_label="an hour"),
        ),
        (
            "Bytes of each node, by kind of node",
            bar_chart({name: groups[name]["bytes"] / count for name, count in each.items()}, y_label="an hour"),
        ),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    header = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>" if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{header}{body}</table>"
