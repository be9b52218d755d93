"""Watches whether the owner allows serving, and tells a gate when that changes; it serves nothing itself.

`open` judges once before anything is served, `run` goes on judging. A sensor that fails, or takes too long, is unknown.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import trio

from swarmharness.errors import SwarmError, cause_text
from swarmharness.owner.limits import Held, OwnerSettings, Verdict, judge
from swarmharness.owner.ports import Gate, OwnerPorts, Pause, Readings, Sensor
from swarmharness.ports import Clock

READ_TIMEOUT_S = 5.0
SCHEDULE_LOOK_S = 30.0
"""A schedule is held against the clock on the wall at least so often: hours begin, and time zones change."""
CORRECTED_S = 5
"""A clock that moved by more against the time that passed was set: the pause's file follows it."""
UNREADABLE = "sensors"
"""Counts looks that failed as a whole."""

_log = logging.getLogger(__name__)


class OwnerService:
    """Use `open`, hand over a gate with `attach`, then `await nursery.start(service.run)`."""

    def __init__(self, ports: OwnerPorts, clock: Clock, settings: OwnerSettings) -> None:
        self._ports = ports
        self._clock = clock
        self._settings = settings
        self._gate: Gate | None = None
        self._pause: Pause | None = None
        self._pause_ends_us: int | None = None
        """By `WallClock.elapsed_us`."""
        self._readings = Readings()
        self._held = Held()
        self._verdict = Verdict()
        self._told = ""
        self._hand_back_us: int | None = None
        self._looking = trio.CapacityLimiter(1)
        self._failures: Counter[str] = Counter()
        self._saving = trio.Lock()
        self._changed = trio.Event()
        self._wake = trio.Event()

    @classmethod
    async def open(cls, ports: OwnerPorts, clock: Clock, settings: OwnerSettings) -> OwnerService:
        """Return a service that knows its first verdict."""
        service = cls(ports, clock, settings)
        service._begin_pause(await trio.to_thread.run_sync(ports.pauses.load))
        await service._look()
        service._decide()
        return service

    def attach(self, gate: Gate) -> None:
        """Tell this gate from now on, and at once if the node must not serve."""
        self._gate = gate
        self._tell()

    # -- what others ask -------------------------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict:
        """The verdict in force."""
        return self._verdict

    @property
    def drain_s(self) -> float:
        """How long tasks of others may go on after a pause."""
        return self._settings.drain_s

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each sensor could not be read."""
        return self._failures

    async def status(self) -> dict[str, Any]:
        """Look at every sensor now, and return plain values for `node status`; this decides nothing."""
        readings = await self._read(frozenset(Sensor)) or Readings()
        return {
            "serves_others": self._verdict.allowed,
            "reasons": [reason.text for reason in self._verdict.reasons],
            "told_to_others": self._verdict.code,
            "readings": {
                name: "unknown" if value is None else round(value, 1) if isinstance(value, float) else value
                for name in Readings.__dataclass_fields__
                if name != "failed"
                for value in (getattr(readings, name),)
            },
            "sensor_failures": dict(self._failures),
        }

    async def until_allowed(self) -> None:
        """Return when the node serves others."""
        while not self._verdict.allowed:
            await self._changed.wait()

    async def pause(self, for_s: int | None) -> str:
        """Stop serving others for so long, or until `resume`; returns why it ends with the process, if it does."""
        pause = Pause() if for_s is None else Pause(-(-self._clock.unix_us() // 1_000_000) + for_s, for_s)
        return await self._set_pause(pause)

    async def resume(self) -> str:
        """End a pause; the verdict may still have other reasons. Returns as `pause` does."""
        return await self._set_pause(None)

    def set_settings(self, settings: OwnerSettings) -> None:
        """Go by other limits from now on; what was held by the old ones is forgotten."""
        if settings.limits != self._settings.limits:
            self._held = Held()
        self._settings = settings
        self._awake()

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Judge every `check_s`, and when something happens, until cancelled."""
        task_status.started()
        while True:
            wake = self._wake
            with trio.move_on_after(self._patience_s()):
                await wake.wait()
            await self._look()
            await self._tend_pause()
            self._decide()
            self._hand_back_when_due()

    def _patience_s(self) -> float:
        """Return how long nothing can be due."""
        waits = [self._settings.check_s]
        if self._settings.limits.schedule:
            waits.append(SCHEDULE_LOOK_S)
        if self._hand_back_us is not None:
            waits.append((self._hand_back_us - self._clock.monotonic_us()) / 1e6)
        if self._pause_ends_us is not None:
            waits.append((self._pause_ends_us - self._ports.wall.elapsed_us()) / 1e6)
        return max(0.01, min(waits))

    async def _look(self) -> None:
        wanted = self._settings.limits.wanted
        if not wanted:
            self._readings = Readings()
            return
        readings = await self._read(wanted)
        self._readings = readings or Readings()
        for sensor, why in self._readings.failed:
            self._count(sensor, why)

    async def _read(self, wanted: frozenset[Sensor]) -> Readings | None:
        """Read in a thread; one that hangs is left behind, and holds the only place until it returns."""
        with trio.move_on_after(READ_TIMEOUT_S):
            try:
                return await trio.to_thread.run_sync(
                    self._ports.sensors.read, wanted, abandon_on_cancel=True, limiter=self._looking
                )
            except Exception as error:  # drivers raise anything, and no sensor may end a node
                self._count(UNREADABLE, f"{type(error).__name__}: {cause_text(error)}")
                return None
        self._count(UNREADABLE, f"no answer within {READ_TIMEOUT_S:g} s")
        return None

    def _count(self, name: str, why: str) -> None:
        self._failures[name] += 1
        if self._failures[name] == 1:
            _log.warning("the sensor %s cannot be read and limits nothing: %s", name, why)

    async def _set_pause(self, pause: Pause | None) -> str:
        """Hold a pause, or none; returns why it is not kept across a restart, if the disk took nothing."""
        problem = ""
        async with self._saving:  # so that what was decided last is what the file says
            try:
                await trio.to_thread.run_sync(self._ports.pauses.save, pause)
            except SwarmError as error:
                problem = str(error)
                _log.warning("what was said about pausing holds until this node ends: %s", error)
            self._begin_pause(pause)
        self._decide()
        self._awake()
        return problem

    def _begin_pause(self, pause: Pause | None) -> None:
        """Hold a pause for as long as it has left by the clock of now; from here on only passing time counts."""
        left_s = None if pause is None else pause.left_s(self._unix_s())
        self._pause = pause
        self._pause_ends_us = None if left_s is None else self._ports.wall.elapsed_us() + left_s * 1_000_000

    async def _tend_pause(self) -> None:
        """End a pause that is over; if the clock was set meanwhile, write down by the new one when it ends."""
        async with self._saving:
            pause, ends_us = self._pause, self._pause_ends_us
            if pause is None or pause.until_unix_s is None or ends_us is None:
                return
            if self._ports.wall.elapsed_us() >= ends_us:
                kept = None
            elif abs((until_unix_s := self._pause_until(ends_us)) - pause.until_unix_s) > CORRECTED_S:
                kept = replace(pause, until_unix_s=until_unix_s)
            else:
                return
            self._pause, self._pause_ends_us = kept, ends_us if kept else None
            try:
                await trio.to_thread.run_sync(self._ports.pauses.save, kept)
            except SwarmError as error:
                _log.warning("the file of the pause does not tell when it ends: %s", error)

    def _pause_until(self, ends_us: int) -> int:
        """Return when a pause ends, by the clock of now."""
        return -((self._ports.wall.elapsed_us() - ends_us - self._clock.unix_us()) // 1_000_000)

    def _decide(self) -> None:
        unix_s, limits = self._unix_s(), self._settings.limits
        self._verdict, self._held = judge(
            self._held,
            self._readings,
            limits,
            now_us=self._clock.monotonic_us(),
            time=self._ports.wall.local(unix_s),
            pause=self._pause_text(unix_s),
        )
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        self._tell()

    def _pause_text(self, unix_s: int) -> str | None:
        if self._pause is None:
            return None
        if self._pause_ends_us is None:
            return "paused by the owner until `node resume`"
        if self._pause_ends_us <= self._ports.wall.elapsed_us():
            return None
        until = self._ports.wall.text(self._pause_until(self._pause_ends_us), now_unix_s=unix_s)
        return f"paused by the owner until {until}"

    def _tell(self) -> None:
        """Tell the gate what is new: the word for others, not every number."""
        code = self._verdict.code
        if self._gate is None or code == self._told:
            return
        before, self._told = self._told, code
        if not code:
            _log.info("serving others again")
            self._hand_back_us = None
            self._gate.open()
            return
        _log.info("not serving others: %s", "; ".join(reason.text for reason in self._verdict.reasons))
        self._gate.close(self._verdict.reasons[0])
        if not before:
            self._hand_back_us = self._clock.monotonic_us() + round(self._settings.drain_s * 1e6)
            self._awake()

    def _hand_back_when_due(self) -> None:
        due_us = self._hand_back_us
        if self._gate is not None and due_us is not None and self._clock.monotonic_us() >= due_us:
            self._hand_back_us = None
            self._gate.hand_back()

    def _awake(self) -> None:
        wake, self._wake = self._wake, trio.Event()
        wake.set()

    def _unix_s(self) -> int:
        return self._clock.unix_us() // 1_000_000
