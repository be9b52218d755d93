"""What a simulation showed, as plain numbers: by kind of node, over time, by kind of traffic; it draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarmharness.simulation.adversaries import is_free_rider
from swarmharness.simulation.gains import cheats_income_permille, over_time, specialised_permille
from swarmharness.simulation.load import Answered
from swarmharness.simulation.simulate import Simulation
from swarmharness.simulation.work import PARTS

BUCKETS = PARTS


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of answered requests, in microseconds."""

    p50_us: int
    p90_us: int
    p99_us: int


def latencies(outcomes: Iterable[Answered]) -> Latencies:
    """Return the percentiles; zeros if nothing was answered."""
    sorted_us = sorted(outcome.latency_us for outcome in outcomes if outcome.answered)
    if not sorted_us:
        return Latencies(0, 0, 0)
    return Latencies(*(sorted_us[min(len(sorted_us) - 1, len(sorted_us) * part // 100)] for part in (50, 90, 99)))


def permille(part: int, whole: int) -> int:
    """Return a share, rounded down; 0 of nothing."""
    return 1000 * part // whole if whole else 0


def summary_of(simulation: Simulation) -> dict[str, Any]:
    """Return everything that `--json` prints, integers and text only."""
    scenario, swarm, outcomes = simulation.scenario, simulation.swarm, simulation.load.outcomes
    honest = [outcome for outcome in outcomes if scenario.nodes[outcome.group].role == "honest"]
    return {
        "scenario": scenario.title,
        "seed": simulation.seed,
        "nodes": scenario.count,
        "hours": scenario.hours,
        "trace_digest": simulation.digest,
        "events": swarm.trace.events,
        "steps": swarm.clock.jumps,
        "audits": swarm.checks.audits,
        "requests": _requests(outcomes) | {"made": simulation.load.requests},
        "honest": _requests(honest),
        "groups": {name: _group(simulation, name) for name in scenario.nodes},
        "traffic": _traffic(simulation),
        "credit": {
            "moved_microcredits": swarm.checks.moved_microcredits,
            "cheats_income_permille": cheats_income_permille(simulation),
        },
        "series": series_of(simulation) | over_time(simulation),
        "violations": [asdict(violation) for violation in simulation.violations],
        "unmet": unmet(simulation),
    }


def series_of(simulation: Simulation) -> dict[str, list[int]]:
    """Return what changes over time, in equal buckets by the time at which a request was made."""
    total_us = round(simulation.scenario.hours * 3_600_000_000)
    buckets: list[list[Answered]] = [[] for _ in range(BUCKETS)]
    for outcome in simulation.load.outcomes:
        buckets[min(BUCKETS - 1, outcome.at_us * BUCKETS // total_us)].append(outcome)
    found = [latencies(bucket) for bucket in buckets]
    return {
        "at_s": [(2 * number + 1) * total_us // (2 * BUCKETS * 1_000_000) for number in range(BUCKETS)],
        "requests": [len(bucket) for bucket in buckets],
        "answered": [sum(outcome.answered for outcome in bucket) for bucket in buckets],
        "right": [sum(outcome.right for outcome in bucket) for bucket in buckets],
        "p50_us": [latency.p50_us for latency in found],
        "p99_us": [latency.p99_us for latency in found],
        "bucket_us": [total_us // BUCKETS] * BUCKETS,
    }


def unmet(simulation: Simulation) -> list[str]:
    """Return which expectations of the scenario do not hold, in words."""
    scenario, outcomes = simulation.scenario, simulation.load.outcomes
    expect = scenario.expect
    honest, riders = [], []
    for outcome in outcomes:
        group = scenario.nodes[outcome.group]
        if group.role == "honest":
            honest.append(outcome)
        if is_free_rider(group.role, group.serves) and group.role != "honest":
            riders.append(outcome)
    latency = latencies(honest)
    found = []
    answered = permille(sum(outcome.answered for outcome in honest), len(honest))
    if honest and answered < expect.answered_permille:
        found.append(f"answered {answered} of 1000 requests of honest nodes, expected {expect.answered_permille}")
    for name, value_us, most_ms in (
        ("median", latency.p50_us, expect.latency_p50_ms),
        ("99th percentile", latency.p99_us, expect.latency_p99_ms),
    ):
        if most_ms and value_us > most_ms * 1000:
            found.append(f"the {name} latency is {value_us // 1000} ms, expected at most {most_ms} ms")
    ridden = permille(sum(outcome.answered for outcome in riders), len(riders))
    if expect.starved_permille and ridden > expect.starved_permille:
        found.append(f"answered {ridden} of 1000 requests of free riders, expected at most {expect.starved_permille}")
    return found + _unmet_gains(simulation, honest)


def _unmet_gains(simulation: Simulation, honest: Sequence[Answered]) -> list[str]:
    expect, found = simulation.scenario.expect, []
    wrong = permille(sum(each.answered and not each.right for each in honest), sum(each.answered for each in honest))
    if expect.wrong_permille and wrong > expect.wrong_permille:
        found.append(f"{wrong} of 1000 answers to honest nodes were wrong, expected at most {expect.wrong_permille}")
    income = cheats_income_permille(simulation)
    if expect.cheats_income_permille and (income is None or income > expect.cheats_income_permille):
        found.append(
            f"a cheat earned {income} of 1000 of an honest worker, expected at most {expect.cheats_income_permille}"
        )
    special = specialised_permille(simulation)
    if expect.specialised_permille and (special is None or special[0] < expect.specialised_permille):
        share = special[0] if special else 0
        found.append(
            f"{share} of 1000 of the work is in the nodes' best skills, expected at least {expect.specialised_permille}"
        )
    return found


def _requests(outcomes: Sequence[Answered]) -> dict[str, Any]:
    return {
        "ended": len(outcomes),
        "answered": sum(outcome.answered for outcome in outcomes),
        "right": sum(outcome.right for outcome in outcomes),
        "failures": dict(sorted(Counter(outcome.failure for outcome in outcomes if outcome.failure).items())),
        **asdict(latencies(outcomes)),
    }


def _group(simulation: Simulation, name: str) -> dict[str, Any]:
    scenario, swarm = simulation.scenario, simulation.swarm
    group = scenario.nodes[name]
    members = [node for node in swarm.nodes if node.group_name == name]
    outcomes = [outcome for outcome in simulation.load.outcomes if outcome.group == name]
    indices = {node.index for node in members}
    served = sum(outcome.node in indices for outcome in simulation.load.outcomes)
    sent = [swarm.traffic.by_node[swarm.network.index[peer]] for node in members for peer in node.peer_ids]
    return {
        "nodes": len(members),
        "role": group.role,
        "serves": list(group.serves),
        "requests": _requests(outcomes),
        "served": served,
        "earned_microcredits": sum(swarm.checks.earned.get(node.index, 0) for node in members),
        "spent_microcredits": sum(swarm.checks.spent.get(node.index, 0) for node in members),
        "busy_us": sum(busy for (_, index, _), busy in swarm.work.busy_us.items() if index in indices),
        "sessions": sum(node.session for node in members),
        "messages": sum(count.messages for count in sent),
        "bytes": sum(count.size_bytes for count in sent),
    }


def _traffic(simulation: Simulation) -> dict[str, Any]:
    traffic = simulation.swarm.traffic
    kinds = sorted(traffic.by_kind.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    messages = sum(count.messages for _, count in kinds)
    size_bytes = sum(count.size_bytes for _, count in kinds)
    node_hours = simulation.scenario.count * simulation.scenario.hours
    return {
        "messages": messages,
        "bytes": size_bytes,
        "lost": traffic.lost,
        "messages_per_node_hour": round(messages / node_hours),
        "bytes_per_node_hour": round(size_bytes / node_hours),
        "by_kind": {kind: {"messages": count.messages, "bytes": count.size_bytes} for kind, count in kinds},
    }


GROUP_COLUMNS = ("kind", "nodes", "role", "requests", "answered", "served", "earned", "spent")


def group_rows(summary: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Return one row for each kind of node, under `GROUP_COLUMNS`, with amounts in credits."""
    return [
        (
            name,
            group["nodes"],
            group["role"],
            group["requests"]["ended"],
            group["requests"]["answered"],
            group["served"],
            f"{group['earned_microcredits'] / 1e6:.1f}",
            f"{group['spent_microcredits'] / 1e6:.1f}",
        )
        for name, group in summary["groups"].items()
    ]
