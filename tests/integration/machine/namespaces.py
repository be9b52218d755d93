"""Network namespaces that a test makes for itself, and takes away again; they need root and Linux.

Two machines, each with loopback and one end of a cable; nothing leads out of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from swarmharness.node.process import NodeLaunch

PROGRAM = "tests.integration.machine.in_namespace"


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace; its end of the cable is named `cable`."""

    name: str

    def ip(self, *arguments: str) -> None:
        """Change its network with `ip`."""
        _ip("-n", self.name, *arguments)

    def plug(self, address: str) -> None:
        """Give it an address (with the length of its network), at once and for good."""
        self.ip("address", "add", address, "dev", "cable", "nodad") if ":" in address else self.ip(
            "address", "add", address, "dev", "cable"
        )

    def unplug(self, address: str) -> None:
        """Take the address away."""
        self.ip("address", "del", address, "dev", "cable")

    def launch(self, data_dir: Path, *join: str, config: str) -> NodeLaunch:
        """Return how to start a node in it."""
        return NodeLaunch(data_dir, join, skills=None, config=config, program=("-m", PROGRAM, self.name))


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make two namespaces with a cable between them, whose ends are up and have no address yet; skips if it cannot."""
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    left, right = (Machine(f"swarmharness-{os.getpid()}-{side}") for side in ("left", "right"))
    try:
        for machine in (left, right):
            _ip("netns", "add", machine.name)
            machine.ip("link", "set", "lo", "up")
        left.ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", right.name)
        for machine in (left, right):
            machine.ip("link", "set", "cable", "up")
        yield left, right
    finally:
        for machine in (left, right):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", machine.name)


@cache
def _why_not() -> str:
    """Return why no namespaces can be made here, or an empty string."""
    if shutil.which("ip") is None:
        return "network namespaces need the command `ip` (package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"swarmharness-{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "try", "type", "veth", "peer", "name", "other")
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    finally:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", name)
    return ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
