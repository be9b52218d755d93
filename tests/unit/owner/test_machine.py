"""The real machine, and psutil's answers on machines that this one is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from swarmharness.owner.machine import WINDOW_S_MIN, MachineSensors
from swarmharness.owner.nvidia import RETRY_S, GpuMeter
from swarmharness.owner.ports import Readings, Sensor

Battery = namedtuple("Battery", "percent secsleft power_plugged")
ALL = frozenset(Sensor)


def show(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    monkeypatch.setattr(psutil, name, lambda: value, raising=False)


def test_this_machine_tells_its_memory_and_load() -> None:
    sensors = MachineSensors()
    time.sleep(WINDOW_S_MIN + 0.05)  # the counters are the kernel's, and tick by themselves
    readings = sensors.read(ALL)
    assert readings.failed == ()
    assert readings.memory_available_mib is not None
    assert 0 < readings.memory_available_mib <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    assert readings.cpu_others_percent is not None
    assert 0 <= readings.cpu_others_percent <= 100


def test_what_is_not_wanted_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("virtual_memory", "sensors_battery", "sensors_temperatures"):
        monkeypatch.setattr(psutil, name, None, raising=False)
    sensors = MachineSensors()
    assert sensors.read(frozenset()) == Readings()
    assert [sensor for sensor, _ in sensors.read(frozenset({Sensor.MEMORY})).failed] == [Sensor.MEMORY]


def test_two_looks_in_a_moment_show_the_same_load() -> None:
    sensors = MachineSensors()
    assert sensors.read(frozenset({Sensor.CPU})).cpu_others_percent is None
    time.sleep(WINDOW_S_MIN + 0.05)
    first = sensors.read(frozenset({Sensor.CPU}))
    assert sensors.read(frozenset({Sensor.CPU})) == first


class Counters:
    """The kernel's processor time, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = self.busy_s = self.idle_s = self.own_s = self.worker_s = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=self.busy_s, idle=self.idle_s))
        monkeypatch.setattr(psutil, "Process", self._process)

    def _process(self) -> Any:
        def spent(seconds: float) -> Any:
            return SimpleNamespace(user=seconds, system=0.0, children_user=0.0, children_system=0.0)

        def gone() -> Any:
            raise psutil.NoSuchProcess(2)

        worker = SimpleNamespace(pid=1, cpu_times=lambda: spent(self.worker_s))
        ended = SimpleNamespace(pid=2, cpu_times=gone)
        return SimpleNamespace(pid=0, cpu_times=lambda: spent(self.own_s), children=lambda recursive: [worker, ended])


def test_the_node_and_its_workers_are_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters(monkeypatch)
    sensors = MachineSensors()
    counters.now_s, counters.busy_s, counters.idle_s, counters.own_s, counters.worker_s = 10, 12, 8, 1, 7
    assert sensors.read(frozenset({Sensor.CPU})).cpu_others_percent == pytest.approx(100 * (12 - 8) / 20)
    counters.now_s, counters.idle_s, counters.worker_s = 20, 28, 0  # the worker ended, and its time with it
    assert sensors.read(frozenset({Sensor.CPU})).cpu_others_percent == 0


def _burn(until: float) -> None:
    while time.monotonic() < until:
        pass


def test_a_child_that_computes_is_not_others_and_a_stranger_is() -> None:
    burning = [sys.executable, "-c", "while True: pass"]
    waiting = [sys.executable, "-c", "input()"]
    with subprocess.Popen(burning) as child, subprocess.Popen(waiting, stdin=subprocess.PIPE) as idle:
        try:
            own_sensors, stranger_sensors = MachineSensors(), MachineSensors()
            stranger_sensors._tree = psutil.Process(idle.pid)
            stranger_sensors._before = stranger_sensors._cpu_sample()
            _burn(time.monotonic() + 2 * WINDOW_S_MIN)
            own = own_sensors.read(frozenset({Sensor.CPU})).cpu_others_percent
            stranger = stranger_sensors.read(frozenset({Sensor.CPU})).cpu_others_percent
        finally:
            child.kill()
            idle.kill()
    assert own is not None
    assert stranger is not None
    assert own < stranger, "the same second, with and without this process among the others"


@pytest.mark.parametrize(
    ("shown", "on_battery", "percent"),
    [
        (None, None, None),
        (Battery(31.0, 3600, False), True, 31.0),
        (Battery(100.0, -2, True), False, 100.0),
        (Battery(80.0, -1, None), None, 80.0),
        (Battery(float("nan"), -1, False), True, None),
        (Battery(None, -1, False), True, None),
    ],
)
def test_a_battery_tells_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, shown: Any, on_battery: bool | None, percent: float | None
) -> None:
    show(monkeypatch, "sensors_battery", shown)
    assert MachineSensors().read(frozenset({Sensor.BATTERY})) == Readings(
        on_battery=on_battery, battery_percent=percent
    )


@pytest.mark.parametrize(
    ("chips", "hottest_c"),
    [
        ({}, None),
        ({"coretemp": [61.0, 64.5], "nvme": [90.0]}, 64.5),
        ({"nvme": [45.0], "acpitz": [50.0]}, 50.0),
        ({"k10temp": [float("nan"), -128.0, 0.0, 255.0, 55.0]}, 55.0),
        ({"k10temp": [0.0]}, None),
    ],
)
def test_the_hottest_sane_sensor_of_the_processor_counts(
    monkeypatch: pytest.MonkeyPatch, chips: dict[str, list[float]], hottest_c: float | None
) -> None:
    entries = {name: [SimpleNamespace(current=value) for value in values] for name, values in chips.items()}
    show(monkeypatch, "sensors_temperatures", entries)
    assert MachineSensors().read(frozenset({Sensor.TEMPERATURE})).temperature_c == hottest_c


def test_a_platform_without_a_sensor_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sensors_battery", "sensors_temperatures"):
        monkeypatch.delattr(psutil, name, raising=False)
    assert MachineSensors().read(frozenset({Sensor.BATTERY, Sensor.TEMPERATURE})) == Readings()


def test_a_sensor_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(psutil, "sensors_battery", broken, raising=False)
    readings = MachineSensors().read(frozenset({Sensor.BATTERY, Sensor.MEMORY}))
    assert readings.failed == ((Sensor.BATTERY, "OSError: [Errno 5] Input/output error"),)
    assert readings.memory_available_mib is not None


class FakeNvml:
    """The few functions of NVML that are used, for two devices."""

    class NVMLError(Exception):
        pass

    def __init__(self, whole: list[int], running: list[list[int]], used: dict[int, int] | None) -> None:
        self.whole, self.running, self.used = whole, running, used

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.whole)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self.whole[handle])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self.running[handle]]

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> Any:  # noqa: N802
        if self.used is None:
            raise FakeNvml.NVMLError("not supported")
        return [SimpleNamespace(pid=pid, smUtil=share, timeStamp=1) for pid, share in self.used.items()]


@pytest.mark.parametrize(
    ("nvml", "others"),
    [
        (FakeNvml([], [], None), None),
        (FakeNvml([40, 10], [[7], [8]], None), 40.0),
        (FakeNvml([90, 10], [[1, 7], [8]], {1: 70, 7: 20}), 20.0),
        (FakeNvml([90, 10], [[1], [8]], None), 10.0),
        (FakeNvml([90], [[1]], None), None),
        (FakeNvml([50], [[1]], {1: 60}), 0.0),
    ],
)
def test_what_the_node_s_own_work_takes_of_a_gpu_does_not_count(nvml: FakeNvml, others: float | None) -> None:
    meter = GpuMeter()
    meter._nvml = nvml
    assert meter.others_percent(frozenset({1, 2})) == others


def test_without_nvml_a_gpu_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuMeter().others_percent(frozenset()) is None


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FakeNvml.NVMLError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=refuse, NVMLError=FakeNvml.NVMLError))
    assert GpuMeter().others_percent(frozenset()) is None


def test_a_driver_that_is_loaded_later_or_anew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, now_s, begun = False, 0.0, 0

    class Driver(FakeNvml):
        def nvmlInit(self) -> None:  # noqa: N802
            nonlocal begun
            if not loaded:
                raise FakeNvml.NVMLError("driver not loaded")
            begun += 1

        def nvmlDeviceGetCount(self) -> int:  # noqa: N802
            if not loaded:
                raise FakeNvml.NVMLError("uninitialised")
            return super().nvmlDeviceGetCount()

    monkeypatch.setitem(sys.modules, "pynvml", Driver([40], [[7]], {7: 40}))
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    meter = GpuMeter()
    assert meter.others_percent(frozenset()) is None
    loaded = True
    now_s += RETRY_S
    assert meter.others_percent(frozenset()) == 40.0
    loaded = False
    with pytest.raises(FakeNvml.NVMLError):
        meter.others_percent(frozenset())
    loaded = True
    now_s += RETRY_S
    assert meter.others_percent(frozenset()) == 40.0
    assert begun == 2
