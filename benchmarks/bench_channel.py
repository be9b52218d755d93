"""Calls of 100 bytes between two processes: our encrypted channel, raw TCP as the floor, gRPC as a neighbour."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.harness import Child, Row, child, interleave, judge

NAME = "channel"
DESCRIPTION = "100 B echo between two processes, Noise on: one caller's p50, and 32 callers' calls a second"

_CALLERS = 32
_KINDS = ("raw", "grpc", "ours")


@dataclass(frozen=True, slots=True)
class _Client:
    process: Child
    quick: bool

    def p50_us(self) -> float:
        """The median time of one caller's calls."""
        return self._ask(1, 200 if self.quick else 1500)[0]

    def calls_per_s(self) -> float:
        """How many calls 32 callers get through."""
        return self._ask(_CALLERS, 30 if self.quick else 300)[1]

    def _ask(self, callers: int, calls: int) -> tuple[float, float]:
        self.process.send(f"{callers} {calls}")
        p50_us, calls_per_s = map(float, self.process.line().split())
        return p50_us, calls_per_s


@contextmanager
def _client(kind: str, quick: bool) -> Iterator[_Client]:
    command = [sys.executable, "-m", "benchmarks.channel_ends", kind]
    with child([*command, "server"]) as server, child([*command, "client", server.line()]) as process:
        client = _Client(process, quick)
        client.calls_per_s()  # connects and warms up
        yield client


def run(quick: bool) -> list[Row]:
    """Measure in turns; medians over the rounds."""
    rounds = 3 if quick else 9
    with ExitStack() as stack:
        raw, grpc, ours = (stack.enter_context(_client(kind, quick)) for kind in _KINDS)
        raw_us, grpc_us, ours_us = interleave(raw.p50_us, grpc.p50_us, ours.p50_us, rounds=rounds)
        raw_rate, grpc_rate, ours_rate = interleave(raw.calls_per_s, grpc.calls_per_s, ours.calls_per_s, rounds=rounds)
    return [
        judge("one caller, p50, against raw trio TCP", ours_us, "us", floor=raw_us, ratio_at_most=4.5),
        judge("one caller, p50, of gRPC aio", grpc_us, "us", floor=raw_us),
        judge("32 callers, against raw trio TCP", ours_rate, "calls/s", floor=raw_rate, ratio_at_least=0.33),
        judge("32 callers, against gRPC aio", ours_rate, "calls/s", floor=grpc_rate, ratio_at_least=5),
    ]
