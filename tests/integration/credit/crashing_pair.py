"""Run as a script: settles between two nodes on disk, again and again in children that are killed with SIGKILL.

Prints one line for each receipt that `settle` returned: the test compares them with what the databases hold.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import trio

from swarmharness.credit.receipt import body_digest
from swarmharness.credit.service import CreditService
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.ports import SystemRandomness
from tests.unit.credit.builders import ALICE, BOB, NOON_US, HandClock, Wire, WireTransport, body, terms

PARALLEL = 8


async def settle_for_ever(directory: Path, first: int, report: int) -> None:
    wire, clock = Wire(), HandClock(NOON_US + first)
    async with (
        open_sqlite_store(directory / "alice.db", owner=ALICE.peer_id, unix_us=clock.now_us) as alice_store,
        open_sqlite_store(directory / "bob.db", owner=BOB.peer_id, unix_us=clock.now_us) as bob_store,
        trio.open_nursery() as nursery,
    ):
        alice, bob = (
            CreditService(store, who, WireTransport(wire, who.peer_id), clock, SystemRandomness())
            for store, who in ((alice_store, ALICE), (bob_store, BOB))
        )
        await nursery.start(bob.run)
        await nursery.start(alice.run)

        async def settle(start: int) -> None:
            for number in range(start, 2**60, PARALLEL):
                bob.expect(terms(number))
                receipt = await alice.settle(body(number))
                os.write(report, body_digest(receipt.body).hex().encode() + b"\n")

        for start in range(PARALLEL):
            nursery.start_soon(settle, first + start)


def main(directory: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            trio.run(settle_for_ever, directory, (number + 1) * 1_000_000, writing)
        os.close(writing)
        acknowledged = b""
        wanted = chance.randrange(0, 60) * 65
        while len(acknowledged) < wanted:
            piece = os.read(reading, 65)
            if not piece:
                sys.exit(f"round {number} ended by itself")
            acknowledged += piece
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(reading, 65_536):
            acknowledged += piece
        os.close(reading)
        sys.stdout.write(acknowledged.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
