"""Reads a trace, replays it under each policy, and shows the comparison; the judging is `routing.replay`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmharness.cli.options import print_table
from swarmharness.errors import InputError
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.replay import QUANTILES, Outcome, ReplaySettings, answered_tasks, recorded, replay
from swarmharness.routing.replay_model import PeerModel, fit
from swarmharness.routing.trace import LINE_CHARS_MAX, Trace, read_trace

FILE_BYTES_MAX = 2 * 2**30
SHARES_SHOWN = 12
MODEL = "model"
"""The recorded choices on the model: what it makes of them tells how far it can be believed."""


def compare(path: Path, policies: Sequence[tuple[str, RoutingPolicy]], settings: ReplaySettings) -> dict[str, Any]:
    """Return the comparison as plain values; raises InputError for a file that is no trace, or has no answer."""
    trace = _read(path)
    tasks = answered_tasks(trace)
    if not tasks:
        raise InputError(f"{path} holds no task that was answered: there is nothing to compare")
    models = fit(trace)
    really = recorded(trace, settings)
    modelled = replay(trace, models, None, settings, name=MODEL)
    outcomes = [really, modelled]
    outcomes += [replay(trace, models, policy, settings, name=name) for name, policy in policies]
    errors = Counter(record.error for record in trace.records if record.error)
    return {
        "trace": str(path),
        "tasks": len(tasks),
        "items": sum(task.items for task in tasks),
        "seconds": (tasks[-1].time_us - tasks[0].time_us) / 1e6,
        "not_replayed": dict(sorted(errors.items())),
        "torn": trace.torn,
        "within_ms": settings.within_us / 1000,
        "seed": settings.seed,
        "model_to_recorded": {f"p{percent}": _ratio(modelled, really, percent) for percent in QUANTILES},
        "peers": [_peer(peer, model) for peer, model in models.items()],
        "results": [outcome.as_dict() for outcome in outcomes],
    }


def print_comparison(report: dict[str, Any]) -> None:
    """Print a comparison as tables."""
    print(
        f"{report['tasks']} tasks with {report['items']} items in {report['seconds']:.1f} s, "
        f"{len(report['peers'])} peers; good is an answer within {report['within_ms']:g} ms; seed {report['seed']}"
    )
    if report["not_replayed"]:
        counts = ", ".join(f"{count} {error}" for error, count in report["not_replayed"].items())
        print(f"not replayed, because they brought no answer: {counts}")
    if report["torn"]:
        print("the last line was cut off, and is left out")
    columns = ("policy", "answered", "p50 ms", "p90 ms", "p99 ms", "mean ms", "goodput", "same choice")
    names = ("policy", "answered", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "goodput", "same_choice")
    print_table("", columns, [[row[name] for name in names] for row in report["results"]])
    factors = ", ".join(f"{name} {value:.2f}" for name, value in report["model_to_recorded"].items())
    print(f"\nthe model, given the recorded choices, against what was recorded: {factors} (1 is right)")
    peers = sorted({peer for row in report["results"] for peer in row["shares"]})
    largest = sorted(peers, key=lambda peer: -max(row["shares"].get(peer, 0) for row in report["results"]))
    rows = [
        (peer, *(f"{row['shares'].get(peer, 0):.1%}" for row in report["results"])) for peer in largest[:SHARES_SHOWN]
    ]
    print("\nshare of items")
    print_table("", ("peer", *(row["policy"] for row in report["results"])), rows)
    if len(largest) > SHARES_SHOWN:
        print(f"and {len(largest) - SHARES_SHOWN} more; --json has them all")


def _read(path: Path) -> Trace:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"{path} is larger than {FILE_BYTES_MAX} bytes; cut it into pieces")
        with path.open("r", encoding="utf-8-sig", newline="\n") as file:
            # A line is read no further than it may be long, so that a file without newlines costs no memory.
            return read_trace(iter(lambda: file.readline(LINE_CHARS_MAX + 1), ""), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path} cannot be read: {reason}") from None


def _ratio(modelled: Outcome, really: Outcome, percent: int) -> float:
    return round(modelled.quantile_us(percent) / max(1, really.quantile_us(percent)), 4)


def _peer(peer: str, model: PeerModel) -> dict[str, Any]:
    models = Counter(key.skill for key in model.work)
    return {
        "peer": peer,
        "slots": model.slots,
        "skills": {
            key.skill if models[key.skill] == 1 else f"{key.skill}@{key.digest.decode()}": {
                "model_digest": key.digest.decode(),
                "item_ms": work.typical_us / 1000,
                "rest_ms": work.rest_us / 1000,
                "failures": work.failures_micro / 1e6,
                "observed": work.observed,
            }
            for key, work in model.work.items()
        },
    }
