"""Run as a script: kills two nodes that settle with each other, at seeded points, and audits both stores each time.

Prints one line of JSON for each kill: what the audits of both stores found.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import trio

from swarmharness.credit.sqlite_audit import audit
from tests.integration.credit.crashing_pair import settle_for_ever

ACKNOWLEDGEMENT_BYTES = 65
DELAY_US_MAX = 3_000
"""A settlement takes about as long, so that the kill comes anywhere within one."""


def kill_once(directory: Path, number: int, chance: random.Random) -> int:
    """Let both settle until some receipts are acknowledged, kill them a moment later; return how many they were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        trio.run(settle_for_ever, directory, (number + 1) * 1_000_000, writing)
    os.close(writing)
    wanted, acknowledged = chance.randrange(1, 20) * ACKNOWLEDGEMENT_BYTES, 0
    while acknowledged < wanted:
        piece = os.read(reading, ACKNOWLEDGEMENT_BYTES)
        if not piece:
            sys.exit(f"round {number} ended by itself")
        acknowledged += len(piece)
    time.sleep(chance.randrange(DELAY_US_MAX) / 1e6)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while piece := os.read(reading, 65_536):
        acknowledged += len(piece)
    os.close(reading)
    return acknowledged // ACKNOWLEDGEMENT_BYTES


def audited(path: Path) -> dict[str, Any]:
    report = audit(path).as_dict()
    return {
        name: report[name]
        for name in ("peer_id", "clean", "receipts", "half_entries", "chains", "forkers", "gaps", "problems")
    }


def main(directory: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(rounds):
        acknowledged = kill_once(directory, number, chance)
        stores = [audited(directory / f"{name}.db") for name in ("alice", "bob")]
        print(json.dumps({"acknowledged": acknowledged, "stores": stores}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
