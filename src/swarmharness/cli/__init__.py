"""The `swarmharness` command; importing it loads nothing heavy, and each command loads only what it needs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line in `sys.argv` and exit with the status that `errors.ErrorKind` gives it."""
    if sys.platform == "win32":  # before anything that needs a Unix module
        sys.exit(
            "error: Windows is not supported; run swarmharness inside WSL 2: https://learn.microsoft.com/windows/wsl"
        )
    from swarmharness.cli.streams import open_standard_streams

    open_standard_streams()
    from swarmharness.cli.application import run

    sys.exit(run(sys.argv[1:]))
