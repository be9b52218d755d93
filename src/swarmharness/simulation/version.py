"""Tells which commit of the program runs, for the report of a failure; it changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import swarmharness


def commit() -> str:
    """Return the commit of the checkout that the program runs from, or else the version of the package."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return f"version {swarmharness.__version__}"
    return found.stdout.strip()
