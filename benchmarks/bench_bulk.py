"""A payload of 64 MiB between two processes, digest checked: a call, against a bare libp2p stream that hashes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.harness import Child, Row, child, interleave, judge

NAME = "bulk"
DESCRIPTION = "64 MiB between two processes, digest checked, against a bare libp2p stream that also hashes"


@contextmanager
def _client(kind: str) -> Iterator[Child]:
    command = [sys.executable, "-m", "benchmarks.bulk_ends", kind]
    with child([*command, "server"]) as server, child([*command, "client", server.line()]) as client:
        _mib_per_s(client)  # opens the windows: a later transfer finds them wide on neither side
        yield client


def _mib_per_s(client: Child) -> float:
    client.send("again")
    return float(client.line())


def run(quick: bool) -> list[Row]:
    """Measure in turns; medians over the rounds."""
    with _client("bare") as bare, _client("ours") as ours:
        floor, value = interleave(lambda: _mib_per_s(bare), lambda: _mib_per_s(ours), rounds=2 if quick else 7)
    return [judge("64 MiB, against a bare libp2p stream", value, "MiB/s", floor=floor, ratio_at_least=0.9)]
