"""Traces for the tests of replay, from a small world whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.routing.trace import Trace, TraceRecord
from tests.unit.routing.views import view

SKILL = "text-embedding"
START_US = 1_700_000_000_000_000


@dataclass(slots=True)
class Server:
    """A queue, first come first served, that takes `item_us` for an item."""

    item_us: int
    way_us: int = 1_000
    slots: int = 1
    free_us: list[int] = field(default_factory=list)

    def serve(self, sent_us: int, items: int) -> tuple[int, int]:
        """Return (service time, elapsed time)."""
        self.free_us = self.free_us or [0] * self.slots
        slot = self.free_us.index(min(self.free_us))
        done_us = max(sent_us, self.free_us[slot]) + self.item_us * items
        self.free_us[slot] = done_us
        return self.item_us * items, done_us + self.way_us - sent_us


def record(time_us: int, chosen: str, **known: object) -> TraceRecord:
    """Return an ordinary record: one item, answered in 6 ms of which 5 are service; the candidates are a and b."""
    values: dict[str, object] = {
        "skill": SKILL,
        "items": 1,
        "input_bytes": 40,
        "considered": 2,
        "views": (view("a"), view("b")),
        "service_us": 5_000,
        "elapsed_us": 6_000,
        **known,
    }
    return TraceRecord(time_us, chosen=chosen, **values)  # type: ignore[arg-type]


def served(servers: dict[str, Server], chosen: list[str], *, gap_us: int, items: int = 1) -> Trace:
    """Return the trace of tasks that arrive every `gap_us` and go where `chosen` says."""
    views = tuple(view(peer, measured_us=server.item_us) for peer, server in servers.items())
    records = []
    for number, peer in enumerate(chosen):
        sent_us = START_US + number * gap_us
        service_us, elapsed_us = servers[peer].serve(sent_us, items)
        records.append(record(sent_us, peer, views=views, items=items, service_us=service_us, elapsed_us=elapsed_us))
    return Trace(tuple(records))
