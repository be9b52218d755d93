"""Attacks a node in every way that `tests/hostile` knows, and measures what becomes of it and of those it serves.

Each attack meets a node of its own. Before it, the same attacker is aimed at a sink, so that what the attacker costs
the machine is in the quiet figures, and only what it does to the node is not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from tests.hostile.attack import PER_NETWORK, Attack
from tests.hostile.attacks import ATTACKS

from benchmarks.harness import Row, judge
from benchmarks.hostile_ends import Target, attack_once, honest_at, sink, target
from benchmarks.hostile_gauges import Gauges
from benchmarks.hostile_honest import Honest, Phase, Series

NAME = "hostile"
DESCRIPTION = "a node under every attack of tests/hostile: memory, descriptors, processor, and what the honest get"
SCALES = ((1, 20.0), (10, 20.0), (500, 60.0))
"""Identities, and seconds."""
RSS_GROWTH_MIB_MAX, IDLE_WITHIN_S, P50_RATIO_MAX = 100.0, 10.0, 3.0
RSS_KEPT_MAX = 1.1
AFTER_S = 60.0
_DESCRIPTORS_MAX = 512 + 128 + 64
"""By the default limits: connections, those half-open, and the node's own."""

_options = argparse.Namespace(only=[], identities=0, seconds=0.0, after=AFTER_S, per_network=PER_NETWORK)


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Add what can be chosen here to the command line."""
    names = f"of {', '.join(ATTACKS)}"
    parser.add_argument("--only", action="append", metavar="ATTACK", default=[], choices=list(ATTACKS), help=names)
    parser.add_argument("--identities", type=int, default=0, help="attackers at a time; default: 1, 10 and 500")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long each attack lasts; default: 20, 20, 60")
    parser.add_argument("--after", type=float, default=AFTER_S, help="how long the node is watched afterwards")
    parser.add_argument("--per-network", type=int, default=PER_NETWORK, help="attackers in each /24")


def configure(options: argparse.Namespace) -> None:
    """Take the choices of the command line."""
    global _options
    _options = options


def run(quick: bool) -> list[Row]:
    """See the harness. A line of all figures goes to standard error when an attack is over."""
    scales = SCALES[:1] if quick else SCALES
    if _options.identities:
        scales = ((_options.identities, 60.0 if _options.identities > 100 else 20.0),)
    rows: list[Row] = []
    for name in _options.only or ATTACKS:
        for identities, seconds in scales:
            seconds = _options.seconds or (3.0 if quick else seconds)
            outcome = _measured(ATTACKS[name], identities, seconds, 12.0 if quick else _options.after)
            print(json.dumps(outcome.line()), file=sys.stderr, flush=True)
            rows += outcome.rows()
    return rows


@dataclass(slots=True)
class Outcome:
    """All figures of one attack."""

    title: str
    alive: bool
    before_mib: float
    peak_mib: float
    after_mib: float
    descriptors: int
    busy_quiet: float
    busy: float
    cpu_after_s: float
    idle_s: float
    phases: dict[str, Phase]
    met: dict[str, int]
    status: dict[str, Any]
    allocator: dict[str, float]

    def rows(self) -> list[Row]:
        """Judge it by the goals of the suite."""
        quiet, during = self.phases["quiet"], self.phases["during"]
        lost = sum(series.lost for phase in self.phases.values() for series in (phase.calls, phase.tasks))
        return [
            judge(f"{self.title}: alive", float(self.alive), "", at_least=1),
            judge(f"{self.title}: memory, most", self.peak_mib - self.before_mib, "MiB", at_most=RSS_GROWTH_MIB_MAX),
            self._ratio("memory, afterwards", self.after_mib, self.before_mib, "MiB", RSS_KEPT_MAX),
            judge(f"{self.title}: descriptors", float(self.descriptors), "", at_most=_DESCRIPTORS_MAX),
            judge(f"{self.title}: idle again", min(self.idle_s, 1e6), "s", at_most=IDLE_WITHIN_S),
            self._p50("call", quiet.calls, during.calls),
            self._p50("task", quiet.tasks, during.tasks),
            judge(f"{self.title}: lost", float(lost), "", at_most=0),
        ]

    def _p50(self, what: str, quiet: Series, during: Series) -> Row:
        return self._ratio(f"{what}, p50", during.quantile_ms(0.5), quiet.quantile_ms(0.5), "ms", P50_RATIO_MAX)

    def _ratio(self, what: str, value: float, floor: float, unit: str, at_most: float) -> Row:
        value, floor = (figure if math.isfinite(figure) else 1e6 for figure in (value, floor))
        return judge(f"{self.title}: {what}", value, unit, floor=floor, ratio_at_most=at_most)

    def line(self) -> dict[str, Any]:
        """Return everything for a line of JSON, rounded; None is what did not happen."""
        refused = self.status.get("refused_messages", {})
        return {
            "attack": self.title,
            "alive": self.alive,
            "rss_mib": [round(value) for value in (self.before_mib, self.peak_mib, self.after_mib)],
            "allocator_mib": {name: round(value) for name, value in self.allocator.items()},
            "descriptors": self.descriptors,
            "processors": [round(self.busy_quiet, 2), round(self.busy, 2)],
            "processor_s_after": round(self.cpu_after_s, 1),
            "idle_again_s": _rounded(self.idle_s),
            "ms": {
                kind: {
                    name: [_rounded(getattr(phase, kind).quantile_ms(share)) for share in (0.5, 0.95)]
                    for name, phase in self.phases.items()
                }
                for kind in ("calls", "tasks", "newcomers")
            },
            "lost": {
                kind: {name: getattr(phase, kind).lost for name, phase in self.phases.items()}
                for kind in ("calls", "tasks", "newcomers")
            },
            "why_lost": sorted(
                {
                    reason
                    for phase in self.phases.values()
                    for kind in (phase.calls, phase.tasks, phase.newcomers)
                    for reason in kind.reasons
                }
            )[:6],
            "attacker": self.met,
            "refused": dict(sorted(refused.items(), key=lambda item: -item[1])[:6]),
            "attacks_told": len(self.status.get("attacks", ())),
        }


def _measured(attack: Attack, identities: int, seconds: float, after_s: float) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, target(Path(folder), attack) as aim, sink() as dummy:
        return trio.run(_watched, Path(folder), attack, aim, dummy, identities, seconds, after_s)


async def _watched(
    base: Path, attack: Attack, aim: Target, dummy: tuple[str, int], identities: int, seconds: float, after_s: float
) -> Outcome:
    gauges = Gauges(aim.node.process.pid)
    more = ("--per-network", str(_options.per_network))
    async with honest_at(base, attack, aim) as honest, trio.open_nursery() as nursery:
        nursery.start_soon(gauges.watch)
        nursery.start_soon(honest.ask)
        if attack.asked_for:
            nursery.start_soon(aim.look_for_skills)
        quiet, busy_quiet, _ = await _phase(honest, gauges, attack, dummy, identities, seconds, more)
        before_mib = gauges.sample()
        gauges.reset()
        during, busy, met = await _phase(honest, gauges, attack, aim.address, identities, seconds, more)
        after = honest.begin()
        ended_cpu_s = gauges.cpu_s
        idle_s = await gauges.idle_again_s(busy_quiet, within_s=after_s)
        outcome = Outcome(
            title=f"{attack.name} x{identities}",
            alive=aim.node.process.poll() is None,
            before_mib=before_mib,
            peak_mib=gauges.rss_mib,
            after_mib=gauges.sample(),
            descriptors=gauges.descriptors,
            busy_quiet=busy_quiet,
            busy=busy,
            cpu_after_s=gauges.cpu_s - ended_cpu_s,
            idle_s=idle_s,
            phases={"quiet": quiet, "during": during, "after": after},
            met=met,
            status=await aim.status(),
            allocator=await aim.allocator(),
        )
        nursery.cancel_scope.cancel()
    return outcome


async def _phase(
    honest: Honest,
    gauges: Gauges,
    attack: Attack,
    address: tuple[str, int],
    identities: int,
    seconds: float,
    more: tuple[str, ...],
) -> tuple[Phase, float, dict[str, int]]:
    """Attack an address; returns what the honest got, how many processors the node used, and what attackers met."""
    phase = honest.begin()
    gauges.sample()
    began_s, cpu_s = trio.current_time(), gauges.cpu_s
    met = await attack_once(attack, address, identities, seconds, more)
    return phase, (gauges.cpu_s - cpu_s) / (trio.current_time() - began_s), met


def _rounded(value: float) -> float | None:
    return round(value, 1) if math.isfinite(value) else None
