"""One attack as a process of its own, at the lowest priority: `python -m tests.hostile.attacker NAME HOST PORT …`.

It prints one JSON object when the time is over: what its connections met with.
"""

from __future__ import annotations

import argparse
import json
import os

import trio

from tests.hostile import attacks
from tests.hostile.attack import PER_NETWORK, strike


def main() -> None:
    """Attack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(attacks.ATTACKS))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--identities", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--per-network", type=int, default=PER_NETWORK)
    chosen = parser.parse_args()
    os.nice(19)

    async def run() -> None:
        outcome = await strike(
            attacks.ATTACKS[chosen.name],
            (chosen.host, chosen.port),
            identities=chosen.identities,
            seconds=chosen.seconds,
            per_network=chosen.per_network,
        )
        print(json.dumps(outcome), flush=True)

    trio.run(run)


if __name__ == "__main__":
    main()
