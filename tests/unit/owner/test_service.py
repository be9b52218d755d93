from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from swarmharness.errors import ConfigurationError
from swarmharness.owner.limits import Limits, OwnerSettings
from swarmharness.owner.ports import LocalTime, OwnerPorts, Pause, Readings, Sensor
from swarmharness.owner.schedule import parse_hours
from swarmharness.owner.service import READ_TIMEOUT_S, UNREADABLE, OwnerService
from swarmharness.ports import Clock
from tests.unit.owner.builders import START_UNIX_S, FakeSensors, FakeWall, Log, MemoryPauses, owner_ports

HOT = Readings(cpu_others_percent=90)
COOL = Readings(cpu_others_percent=10)
LIMITS = Limits(cpu_others_max_percent=50, memory_available_min_mib=0, on_battery=True, battery_min_percent=0)
SETTINGS = OwnerSettings(replace(LIMITS, calm_s=0.05), check_s=0.01, drain_s=0.05)


class TrioTime:
    """Follows trio's clock."""

    def unix_us(self) -> int:
        return START_UNIX_S * 1_000_000 + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(trio.current_time() * 1e6)


@asynccontextmanager
async def running(
    ports: OwnerPorts, settings: OwnerSettings = SETTINGS, clock: Clock | None = None
) -> AsyncIterator[tuple[OwnerService, Log]]:
    service, log = await OwnerService.open(ports, clock or TrioTime(), settings), Log()
    service.attach(log)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield service, log
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.002)


async def test_the_first_verdict_is_there_before_anything_is_served() -> None:
    service = await OwnerService.open(owner_ports(FakeSensors(HOT)), TrioTime(), SETTINGS)
    assert service.verdict.code == "cpu"
    log = Log()
    service.attach(log)
    assert log.told == ["close: cpu"]


async def test_a_gate_is_told_of_changes_alone_and_tasks_get_their_time() -> None:
    sensors = FakeSensors(COOL)
    async with running(owner_ports(sensors)) as (_, log):
        await until(lambda: len(sensors.asked) > 3)
        assert log.told == []
        sensors.readings = HOT
        await until(lambda: "hand back" in log.told)
        assert log.told == ["close: cpu", "hand back"]
        sensors.readings = COOL
        await until(lambda: "open" in log.told)
        seen = len(sensors.asked)
        await until(lambda: len(sensors.asked) > seen + 3)
        assert log.told == ["close: cpu", "hand back", "open"]


async def test_what_resumes_within_the_drain_is_not_handed_back() -> None:
    settings = replace(SETTINGS, drain_s=3600)
    async with running(owner_ports(), settings) as (service, log):
        await service.pause(None)
        await service.resume()
        assert log.told == ["close: paused", "open"]


async def test_a_pause_is_kept_before_it_is_answered_and_ends_by_itself() -> None:
    pauses = MemoryPauses()
    async with running(owner_ports(pauses=pauses)) as (service, log):
        assert await service.pause(1) == ""
        verdict = service.verdict
        assert pauses.pause is not None
        assert pauses.pause.until_unix_s is not None
        assert verdict.code == "paused"
        assert verdict.reasons[0].text in ("paused by the owner until +1 s", "paused by the owner until +2 s")
        await until(lambda: log.told[-1] == "open")
        await until(lambda: pauses.pause is None)


async def test_a_pause_without_end_survives_a_restart() -> None:
    ports = owner_ports()
    async with running(ports) as (service, _):
        await service.pause(None)
    again = await OwnerService.open(ports, TrioTime(), SETTINGS)
    assert [reason.text for reason in again.verdict.reasons] == ["paused by the owner until `node resume`"]


async def test_a_pause_that_ended_while_the_node_was_off_is_over() -> None:
    pauses = MemoryPauses(Pause(START_UNIX_S - 10, 60))
    async with running(owner_ports(pauses=pauses)) as (service, log):
        assert service.verdict.allowed
        await until(lambda: pauses.pause is None)
        assert log.told == []


MONTH_S = 30 * 86_400


@dataclass
class SetTime(FakeWall):
    """Shows what the test sets: the time that passed, and how far the clock is ahead."""

    elapsed_s: int = 0
    ahead_s: int = 0

    def elapsed_us(self) -> int:
        return self.elapsed_s * 1_000_000

    def monotonic_us(self) -> int:
        return self.elapsed_us()

    def unix_us(self) -> int:
        return (START_UNIX_S + self.ahead_s + self.elapsed_s) * 1_000_000


@pytest.mark.parametrize("ahead_s", [MONTH_S, -MONTH_S])
async def test_correcting_the_clock_moves_no_end_of_a_pause(ahead_s: int) -> None:
    pauses, time = MemoryPauses(), SetTime(ahead_s=ahead_s)
    async with running(owner_ports(pauses=pauses, wall=time), clock=time) as (service, log):
        await service.pause(20)
        assert service.verdict.reasons[0].text == "paused by the owner until +20 s"
        time.ahead_s = 0
        await until(lambda: pauses.pause == Pause(START_UNIX_S + 20, 20))
        time.elapsed_s = 19
        await until(lambda: service.verdict.reasons[0].text == "paused by the owner until +1 s")
        time.elapsed_s = 20
        await until(lambda: log.told[-1] == "open")
        await until(lambda: pauses.pause is None)


async def test_a_clock_set_back_while_the_node_was_off_prolongs_a_pause_to_its_duration_at_most() -> None:
    pauses, time = MemoryPauses(Pause(START_UNIX_S + MONTH_S, 20)), SetTime()
    async with running(owner_ports(pauses=pauses, wall=time), clock=time) as (service, log):
        assert service.verdict.reasons[0].text == "paused by the owner until +20 s"
        await until(lambda: pauses.pause == Pause(START_UNIX_S + 20, 20))  # the next start does not begin it anew
        time.elapsed_s = 20
        await until(lambda: log.told[-1:] == ["open"])


async def test_a_pause_that_a_full_disk_does_not_take_holds_until_the_node_ends_and_says_so() -> None:
    pauses = MemoryPauses(error=ConfigurationError("cannot use pause.json: No space left on device"))
    async with running(owner_ports(pauses=pauses)) as (service, log):
        assert "No space left" in await service.pause(None)
        assert service.verdict.code == "paused"
        assert log.told == ["close: paused"]
        assert "No space left" in await service.resume()
        assert service.verdict.allowed
        assert log.told == ["close: paused", "open"]


async def test_resuming_leaves_the_other_reasons() -> None:
    async with running(owner_ports(FakeSensors(HOT))) as (service, log):
        await service.pause(None)
        assert [reason.code for reason in service.verdict.reasons] == ["paused", "cpu"]
        await service.resume()
        assert [reason.code for reason in service.verdict.reasons] == ["cpu"]
        assert log.told == ["close: cpu", "close: paused", "close: cpu"]


@pytest.mark.parametrize("error", [OSError("EIO"), ValueError("bad"), RuntimeError("driver")])
async def test_a_driver_that_raises_limits_nothing_and_is_counted(error: Exception) -> None:
    sensors = FakeSensors(HOT, error)
    async with running(owner_ports(sensors)) as (service, log):
        await until(lambda: service.failures.get(UNREADABLE, 0) > 2)
        assert service.verdict.allowed
        status = await service.status()
        assert status["readings"]["cpu_others_percent"] == "unknown"
        assert status["sensor_failures"][UNREADABLE] > 2
        sensors.error = None
        await until(lambda: log.told[:1] == ["close: cpu"])


async def test_one_sensor_that_fails_is_counted_by_its_name() -> None:
    sensors = FakeSensors(Readings(failed=((Sensor.CPU, "OSError: EIO"),)))
    async with running(owner_ports(sensors)) as (service, _):
        await until(lambda: service.failures.get("cpu", 0) > 1)
        assert service.verdict.allowed


async def test_a_sensor_that_hangs_is_unknown_and_stops_nobody(autojump_clock: MockClock) -> None:
    hanging = threading.Event()

    class Hanging(FakeSensors):
        def read(self, wanted: frozenset[Sensor]) -> Readings:
            hanging.wait(60)
            return HOT

    try:
        async with running(owner_ports(Hanging())) as (service, log):
            await trio.sleep(3 * READ_TIMEOUT_S)
            assert service.failures[UNREADABLE] >= 2
            await service.pause(None)
            assert service.verdict.code == "paused"
            assert log.told == ["close: paused"]
    finally:
        hanging.set()


async def test_only_sensors_with_a_limit_are_read() -> None:
    sensors = FakeSensors()
    await OwnerService.open(owner_ports(sensors), TrioTime(), SETTINGS)
    assert sensors.asked == [frozenset({Sensor.CPU})]
    unlimited = OwnerSettings(replace(LIMITS, cpu_others_max_percent=100))
    service = await OwnerService.open(owner_ports(sensors), TrioTime(), unlimited)
    assert len(sensors.asked) == 1
    await service.status()
    assert sensors.asked[1:] == [frozenset(Sensor)], "an owner who looks sees them all"


async def test_other_limits_hold_at_once() -> None:
    wall = FakeWall(LocalTime(0, 0))
    settings = replace(SETTINGS, check_s=3600)
    async with running(owner_ports(FakeSensors(HOT), wall=wall), settings) as (service, log):
        service.set_settings(replace(settings, limits=replace(LIMITS, cpu_others_max_percent=95)))
        await until(lambda: log.told == ["close: cpu", "open"])
        service.set_settings(replace(settings, limits=replace(LIMITS, schedule=(parse_hours("tue"),))))
        await until(lambda: log.told[-1] == "close: schedule")


async def test_pauses_and_resumes_at_once_leave_file_and_verdict_in_agreement() -> None:
    class Slow(MemoryPauses):
        def save(self, pause: Pause | None) -> None:
            threading.Event().wait(0.001 if pause is None else 0.003)
            super().save(pause)

    pauses = Slow()
    async with running(owner_ports(pauses=pauses)) as (service, log):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                if number % 3:
                    nursery.start_soon(service.pause, None)
                else:
                    nursery.start_soon(service.resume)
        assert service.verdict.allowed == (pauses.pause is None)
        assert log.told[-1] == ("open" if pauses.pause is None else "close: paused") or log.told == []


async def test_who_waits_until_others_are_served_waits_as_long_as_any_reason_holds() -> None:
    sensors = FakeSensors(HOT)
    async with running(owner_ports(sensors)) as (service, _):
        await service.pause(None)
        done = trio.Event()

        async def wait() -> None:
            await service.until_allowed()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await service.resume()
            seen = len(sensors.asked)
            await until(lambda: len(sensors.asked) > seen + 2)
            assert not done.is_set()
            sensors.readings = COOL
            with trio.fail_after(10):
                await done.wait()


async def test_a_schedule_follows_the_wall_within_a_minute_however_seldom_sensors_are_read(
    autojump_clock: MockClock,
) -> None:
    wall = FakeWall()  # Monday noon
    limits = replace(LIMITS, schedule=(parse_hours("mon 11:00-13:00"),))
    async with running(owner_ports(wall=wall), OwnerSettings(limits, check_s=3600)) as (_, log):
        await trio.sleep(1)
        wall.time = LocalTime(0, 3 * 60)  # in another time zone
        await trio.sleep(60)
        assert log.told[:1] == ["close: schedule"]
        wall.time = LocalTime(0, 12 * 60)
        await trio.sleep(60)
        assert log.told[-1] == "open"
