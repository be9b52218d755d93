"""The plots of a report as plain numbers, the same for HTML and PNG; it draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS_SHOWN = 7


@dataclass(frozen=True, slots=True)
class Lines:
    """Several lines over one axis; None where there is nothing to show."""

    title: str
    x: Sequence[float]
    lines: Mapping[str, Sequence[float | None]]
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Named bars, which may be negative."""

    title: str
    bars: Mapping[str, float]
    y_label: str


def plots_of(summary: Mapping[str, Any]) -> list[Lines | Bars]:
    """Return what a report shows of a summary."""
    return [
        *_over_time(summary["series"]),
        *_of_cheats(summary["series"]),
        *_of_specialisation(summary["series"]),
        *_by_kind_of_node(summary),
        _by_kind_of_message(summary["traffic"]),
    ]


def _over_time(series: Mapping[str, Any]) -> list[Lines | Bars]:
    minutes = [at_s / 60 for at_s in series["at_s"]]
    bucket_s = series["bucket_us"][0] / 1e6
    rates = {name: [count / bucket_s for count in series[name]] for name in ("requests", "answered", "right")}
    waits = {
        # Where nothing was answered there is no latency, least of all a short one.
        name: [value / 1000 if count else None for value, count in zip(series[column], series["answered"], strict=True)]
        for name, column in (("median", "p50_us"), ("99th percentile", "p99_us"))
    }
    return [
        Lines("Goodput over time", minutes, rates, "minutes", "requests a second"),
        Lines("Latency over time", minutes, waits, "minutes", "milliseconds"),
    ]


def _of_cheats(series: Mapping[str, Any]) -> list[Lines | Bars]:
    """Who got the work, and what was wrong of it, in a scenario in which somebody answers wrongly."""
    if "answered_by" not in series:
        return []
    minutes = [at_s / 60 for at_s in series["at_s"]]
    answered = series["answered"]
    shares = {
        name: [100 * count / total if total else None for count, total in zip(counts, answered, strict=True)]
        for name, counts in series["answered_by"].items()
    }
    wrong = [
        100 * (total - right) / total if total else None for total, right in zip(answered, series["right"], strict=True)
    ]
    return [
        Lines("Answers by kind of worker, over time", minutes, shares, "minutes", "percent"),
        Lines("Wrong answers that users got", minutes, {"wrong": wrong}, "minutes", "percent of answers"),
    ]


def _of_specialisation(series: Mapping[str, Any]) -> list[Lines | Bars]:
    if "specialised_permille" not in series:
        return []
    shares = {
        name: [None if value is None else value / 10 for value in series[column]]
        for name, column in (
            ("in the node's best skill", "specialised_permille"),
            ("if all nodes did alike", "even_permille"),
        )
    }
    minutes = [at_s / 60 for at_s in series["at_s"]]
    return [Lines("Work in the skill that pays the node most", minutes, shares, "minutes", "percent")]


def _by_kind_of_node(summary: Mapping[str, Any]) -> list[Lines | Bars]:
    groups = {name: group for name, group in summary["groups"].items() if group["nodes"]}
    hours = max(1e-9, summary["hours"])
    asking = {name: group["requests"] for name, group in groups.items() if group["requests"]["ended"]}
    credit = {
        name: (group["earned_microcredits"] - group["spent_microcredits"]) / 1e6 / group["nodes"]
        for name, group in groups.items()
    }
    each = {name: group["nodes"] * hours for name, group in groups.items()}
    return [
        Bars(
            "Requests answered, by who asked",
            {name: 100 * requests["answered"] / requests["ended"] for name, requests in asking.items()},
            "percent",
        ),
        Bars("Credit by kind of node: earned less spent, for each node", credit, "credits"),
        Bars(
            "Messages of each node, by kind of node",
            {name: groups[name]["messages"] / count for name, count in each.items()},
            "an hour",
        ),
        Bars(
            "Bytes of each node, by kind of node",
            {name: groups[name]["bytes"] / count for name, count in each.items()},
            "an hour",
        ),
    ]


def _by_kind_of_message(traffic: Mapping[str, Any]) -> Bars:
    total = max(1, traffic["bytes"])
    kinds = list(traffic["by_kind"].items())
    shares = {kind: 100 * count["bytes"] / total for kind, count in kinds[:KINDS_SHOWN]}
    if kinds[KINDS_SHOWN:]:
        shares["others"] = 100 * sum(count["bytes"] for _, count in kinds[KINDS_SHOWN:]) / total
    return Bars("Share of traffic by kind of message", shares, "percent of bytes")
