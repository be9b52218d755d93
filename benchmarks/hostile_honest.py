"""What honest peers get from a node while it is attacked: calls, tasks of a real skill, and newcomers' first answers.

Requests start at fixed times, whether or not those before were answered, so that a node that stalls is seen to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from tests.hostile.raw_channel import VERSION_1, RawChannel
from tests.hostile.raw_peer import RawPeer

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.node.api import NodeApi
from swarmharness.registry.messages import METHOD_ADVERT

SKILL = "file-type"
CALL_EVERY_S, TASK_EVERY_S, NEWCOMER_EVERY_S = 0.05, 0.5, 1.0
CALL_TIMEOUT_S, TASK_TIMEOUT_S, NEWCOMER_TIMEOUT_S = 10.0, 30.0, 10.0
SOURCE = "127.0.0.7"
"""Of newcomers: the network of the honest, in which no attacker is."""
_ITEM = b'#!/bin/sh\nset -e\nfor f in *.txt; do echo "$f %d"; done\n'
_FAILURES = (SwarmError, OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


@dataclass(slots=True)
class Series:
    """The times of one kind of request in one phase."""

    times_ms: list[float] = field(default_factory=list)
    lost: int = 0
    reasons: set[str] = field(default_factory=set)

    def quantile_ms(self, share: float) -> float:
        """Return what so large a share is not above; those lost count as infinitely late."""
        ordered = sorted(self.times_ms) + [math.inf] * self.lost
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


@dataclass(slots=True)
class Phase:
    """What was asked in one phase."""

    calls: Series = field(default_factory=Series)
    tasks: Series = field(default_factory=Series)
    newcomers: Series = field(default_factory=Series)


class Honest:
    """Asks without rest; each request belongs to the phase in which it began."""

    def __init__(self, api: NodeApi, node: PeerId, address: tuple[str, int] | None) -> None:
        """`address` is where newcomers arrive; None: none come (they do not speak a private swarm's cipher)."""
        self._api = api
        self._node = node
        self._address = address
        self._turn = 0
        self.phase = Phase()

    def begin(self) -> Phase:
        """Begin a phase and return it; it is complete when its last requests have timed out."""
        self.phase = Phase()
        return self.phase

    async def warm_up(self) -> None:
        """Have the model loaded, and everything met once."""
        for _ in range(5):
            await self._task()
            await self._call()
        if self._address is not None:
            await self._newcomer()

    async def ask(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, CALL_EVERY_S, CALL_TIMEOUT_S, self._call, "calls")
            nursery.start_soon(self._every, TASK_EVERY_S, TASK_TIMEOUT_S, self._task, "tasks")
            if self._address is not None:
                nursery.start_soon(self._every, NEWCOMER_EVERY_S, NEWCOMER_TIMEOUT_S, self._newcomer, "newcomers")

    async def _every(self, pause_s: float, timeout_s: float, request: Callable[[], Awaitable[None]], kind: str) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._timed, timeout_s, request, getattr(self.phase, kind))
                await trio.sleep(pause_s)

    async def _timed(self, timeout_s: float, request: Callable[[], Awaitable[None]], series: Series) -> None:
        began_s = time.perf_counter()
        try:
            with trio.fail_after(timeout_s):
                await request()
            series.times_ms.append((time.perf_counter() - began_s) * 1e3)
        except* _FAILURES as group:
            series.lost += 1
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            series.reasons.add(f"{type(error).__name__}: {error}"[:100])

    async def _call(self) -> None:
        transport = self._api.parts.ports.transport
        await transport.call(self._node, METHOD_ADVERT, VERSION_1, timeout_s=CALL_TIMEOUT_S)

    async def _task(self) -> None:
        self._turn += 1
        async with self._api.parts.jobs.open(SKILL) as job:
            await job.feed([_ITEM % self._turn], last=True)
            async for result in job.results():
                if result.error:
                    raise SwarmError(result.error)

    async def _newcomer(self) -> None:
        assert self._address is not None
        async with await RawPeer.meet(self._address, source=SOURCE) as peer:
            await (await RawChannel.open(peer)).ask("registry.advert", VERSION_1)
