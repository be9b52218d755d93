"""Reads how busy NVIDIA GPUs are with the work of others, if the binding `nvidia-ml-py` is installed; loads it late."""

from __future__ import annotations

import importlib
import time
from typing import Any

RETRY_S = 60.0


class GpuMeter:
    """Asks NVML; without its Python binding, or without a driver, everything is unknown."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._retry_at_s = 0.0

    def others_percent(self, own_pids: frozenset[int]) -> float | None:
        """Return the busiest GPU's use by processes that are not in `own_pids`, or None if nobody can tell.

        Where a driver does not tell use by process, a GPU's whole use counts if none of `own_pids` is on it. Raises
        what NVML raises.
        """
        if self._nvml is None:
            self._open()
        nvml = self._nvml
        if nvml is None:
            return None
        try:
            return self._busiest(nvml, own_pids)
        except nvml.NVMLError:
            self._nvml = None  # the driver may have been loaded anew
            raise

    def _busiest(self, nvml: Any, own_pids: frozenset[int]) -> float | None:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        shares = [self._of_device(handle, own_pids) for handle in handles]
        return max((share for share in shares if share is not None), default=None)

    def _open(self) -> None:
        """Find NVML, or look again in a minute: drivers are loaded, and GPUs plugged in, while a node runs."""
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            return
        self._retry_at_s = now_s + RETRY_S
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return  # no driver: there is no GPU to be busy
        self._nvml = nvml

    def _of_device(self, handle: Any, own_pids: frozenset[int]) -> float | None:
        nvml = self._nvml
        whole = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        mine = {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)} & own_pids
        if not mine or whole == 0:
            return whole
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, 0)
        except nvml.NVMLError:
            return None  # old and virtual GPUs do not tell
        latest = {sample.pid: sample for sample in sorted(samples, key=lambda sample: sample.timeStamp)}
        own: float = sum(sample.smUtil for pid, sample in latest.items() if pid in own_pids)
        return min(max(0.0, whole - own), 100.0)
