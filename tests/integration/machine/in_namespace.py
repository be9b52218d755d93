"""Runs `swarmharness` in a network namespace: `python -m tests.integration.machine.in_namespace NAME node start …`."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000


def main() -> None:
    """Enter the namespace, in the only thread there is yet, and become the command."""
    path = Path("/run/netns") / sys.argv.pop(1)
    descriptor = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    os.close(descriptor)
    from swarmharness.cli import main as command

    command()


if __name__ == "__main__":
    main()
