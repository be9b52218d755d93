"""The `swarmharness` command on a machine whose wall clock is wrong: `python shifted_node.py SECONDS node start …`."""

from __future__ import annotations

import sys

from swarmharness.ports import SystemClock


def main() -> None:
    ahead_us = int(sys.argv.pop(1)) * 1_000_000
    right = SystemClock.unix_us
    SystemClock.unix_us = lambda self: right(self) + ahead_us  # type: ignore[method-assign]
    from swarmharness.cli import main as command

    command()


if __name__ == "__main__":
    main()
