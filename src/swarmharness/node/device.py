"""Describes the machine for the advert: cores, memory, accelerators; it loads no driver and no model library."""

from __future__ import annotations

import re
from pathlib import Path

from swarmharness.allowance import usable_cores, usable_memory_bytes
from swarmharness.registry.advert import DeviceInfo

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_MIB = 2**20


def describe_device() -> DeviceInfo:
    """Return what this node may use of its machine now; the advert adds which providers its models run on."""
    return DeviceInfo(usable_cores(), usable_memory_bytes() // _MIB, _accelerators(), ())


def _accelerators() -> tuple[str, ...]:
    """Return the models of NVIDIA GPUs as the driver names them; other makes are not looked for yet."""
    try:
        texts = [(gpu / "information").read_text(errors="replace") for gpu in sorted(_NVIDIA.iterdir())]
    except OSError:
        return ()
    found = [re.search(r"^Model:\s*(.+)$", text, re.MULTILINE) for text in texts]
    return tuple(match.group(1).strip()[:64] for match in found if match)[:16]
