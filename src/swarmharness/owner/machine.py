"""Reads this machine: load, memory, battery, temperature by psutil, GPUs by `nvidia`; it judges nothing.

What belongs to this node's own process tree does not count as others, for else serving would stop itself. In a
container the figures are those of the whole machine, and processes outside it are others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import psutil

from swarmharness.errors import cause_text
from swarmharness.owner.nvidia import GpuMeter
from swarmharness.owner.ports import Readings, Sensor

WINDOW_S_MIN = 0.5
"""Two looks at the CPU that are closer than this give the same answer: its counters tick in hundredths of seconds."""
PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
TEMPERATURES_C = range(1, 151)
"""What a sensor shows beyond these is a fault of the sensor."""

_MIB = 2**20
_IDLE = ("idle", "iowait")
_BUSY = ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc")
_TREE = ("user", "system", "children_user", "children_system")


class MachineSensors:
    """The machine that this process runs on. Not for two threads at once."""

    def __init__(self) -> None:
        self._tree = psutil.Process()
        self._gpus = GpuMeter()
        self._before = self._cpu_sample()
        self._cpu_others_percent: float | None = None

    def read(self, wanted: frozenset[Sensor]) -> Readings:
        """See `ports.Sensors`."""
        found: dict[str, Any] = {}
        failed: list[tuple[Sensor, str]] = []
        readers: dict[Sensor, Callable[[], dict[str, Any]]] = {
            Sensor.CPU: self._cpu,
            Sensor.MEMORY: self._memory,
            Sensor.BATTERY: self._battery,
            Sensor.GPU: self._gpu,
            Sensor.TEMPERATURE: self._temperature,
        }
        for sensor, read in readers.items():
            if sensor in wanted:
                try:
                    found |= read()
                except Exception as error:  # whatever a driver does, the other sensors still count
                    failed.append((sensor, f"{type(error).__name__}: {cause_text(error)}"))
        return Readings(**found, failed=tuple(failed))

    def _cpu(self) -> dict[str, Any]:
        now = self._cpu_sample()
        elapsed_s, busy_s, total_s, own_s = (new - old for new, old in zip(now, self._before, strict=True))
        if elapsed_s >= WINDOW_S_MIN and total_s > 0:
            self._before = now
            # Processes that end take their time out of the sums, so a difference may be negative.
            self._cpu_others_percent = 100 * min(max(0.0, busy_s - max(0.0, own_s)) / total_s, 1.0)
        return {"cpu_others_percent": self._cpu_others_percent}

    def _cpu_sample(self) -> tuple[float, float, float, float]:
        """Return the time now, and busy, total and own processor time since the machine's start, in seconds."""
        times = psutil.cpu_times()
        busy_s = sum(getattr(times, name, 0.0) for name in _BUSY)
        idle_s = sum(getattr(times, name, 0.0) for name in _IDLE)
        own_s = 0.0
        for process in self._own_processes():
            try:
                spent = process.cpu_times()
            except psutil.Error:
                continue  # it ended; its parent has its time
            own_s += sum(getattr(spent, name, 0.0) for name in _TREE)
        return time.monotonic(), busy_s, busy_s + idle_s, own_s

    def _own_processes(self) -> list[psutil.Process]:
        try:
            return [self._tree, *self._tree.children(recursive=True)]
        except psutil.Error:
            return [self._tree]

    def _memory(self) -> dict[str, Any]:
        return {"memory_available_mib": psutil.virtual_memory().available // _MIB}

    def _battery(self) -> dict[str, Any]:
        read = getattr(psutil, "sensors_battery", None)
        battery = read() if read else None
        if battery is None:
            return {}
        plugged = battery.power_plugged
        return {"on_battery": None if plugged is None else not plugged, "battery_percent": _finite(battery.percent)}

    def _gpu(self) -> dict[str, Any]:
        own = frozenset(process.pid for process in self._own_processes())
        return {"gpu_others_percent": self._gpus.others_percent(own)}

    def _temperature(self) -> dict[str, Any]:
        read = getattr(psutil, "sensors_temperatures", None)
        chips = read() if read else {}
        chosen = [name for name in chips if name in PROCESSOR_SENSORS] or list(chips)
        shown = [_finite(entry.current) for name in chosen for entry in chips[name]]
        sane = [value for value in shown if value is not None and TEMPERATURES_C[0] <= value <= TEMPERATURES_C[-1]]
        return {"temperature_c": max(sane, default=None)}


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
