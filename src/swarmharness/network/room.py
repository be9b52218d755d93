"""What all channels of a node share: memory for what passes, calls in progress, turns at reading; it reads nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from swarmharness.network.budgets import Budget
from swarmharness.network.limits import Limits
from swarmharness.network.turns import Turns
from swarmharness.network.work_turns import LeakyBucket, WorkLimits, Workload

MIB = 2**20
_SHARED_S = 0.25
_COMMON_TURNS = 8
"""How many turns' worth of work all strangers together may owe before they wait for each other."""


class Room:
    """The room of one node; `idle_workers` are tasks that channels keep for their next call."""

    def __init__(self, limits: Limits, bytes_max: int) -> None:
        self.bytes = Budget(bytes_max, limits.strangers_payload_mib * MIB)
        self.calls = Budget(limits.calls_max, limits.calls_of_strangers_max)
        self.idle_workers = 0
        self.work_limits = WorkLimits(
            turn_us=round(limits.turn_ms * 1000),
            known_share=limits.work_known_percent / 100,
            stranger_share=limits.work_stranger_percent / 100,
            strangers_share=limits.work_strangers_percent / 100,
        )
        self.strangers_work = LeakyBucket(self.work_limits.strangers_share, _COMMON_TURNS * self.work_limits.turn_us)
        self.line_of_known = Turns()
        self.line_of_strangers = Turns()
        self._last: tuple[PeerRoom | None, float] = (None, -math.inf)
        self._before: tuple[PeerRoom | None, float] = (None, -math.inf)
        """Who asked last, and somebody else who asked before, with the times."""

    def asked(self, peer: PeerRoom, now_s: float) -> None:
        """Note that a peer asks for something."""
        if self._last[0] is not peer:
            self._before = self._last
        self._last = (peer, now_s)

    def is_shared(self, peer: PeerRoom, now_s: float) -> bool:
        """Tell whether others ask, too, at this time."""
        other_s = self._before[1] if self._last[0] is peer else self._last[1]
        return now_s - other_s < _SHARED_S

    def peer(self, known: Callable[[], bool]) -> PeerRoom:
        """Return the room of one more peer; `known` tells whether this node knows it by now."""
        return PeerRoom(self, known)


class PeerRoom:
    """The part of one peer."""

    def __init__(self, room: Room, known: Callable[[], bool]) -> None:
        self._known = known
        self.room = room
        self.is_known = is_known = known()
        self.bytes = room.bytes.share(known=is_known)
        self.calls = room.calls.share(known=is_known)
        self._work = Workload(room.work_limits, None if is_known else room.strangers_work)

    def look(self) -> None:
        """Look whether the peer is still a stranger; who is none stays so."""
        if not self.is_known and self._known():
            self.is_known = True
            self.bytes.know()
            self.calls.know()
            self._work.know()

    async def rest(self, work_us: int) -> bool:
        """Note work that was done for the peer, and wait if others come first; returns whether somebody else waits."""
        if self._work.goes_on(work_us, trio.current_time()):
            return False
        room = self.room
        line = room.line_of_known if self.is_known else room.line_of_strangers
        crowded = line.full
        async with line:
            if self.is_known or not room.is_shared(self, trio.current_time()):
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:  # so that those who do little find the event loop free
                await trio.sleep(work_us / 1e6 / room.work_limits.strangers_share)
        return crowded


def private_room() -> PeerRoom:
    """Return the room of a channel that shares with none, to somebody who is no stranger."""
    return Room(Limits(), 2**40).peer(lambda: True)
