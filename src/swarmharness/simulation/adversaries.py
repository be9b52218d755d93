"""What dishonest nodes do, each in a few lines on top of the real services; no service imports this.

Roles: `load-liar` hides its queue, `speed-liar` claims to be fast, `noise`, `stale`, `copied`, `lazy`, `wrong` and
`cartel` answer wrongly (see `cheating`), `refuser` advertises and refuses, `withholder` never settles, `forker` signs
two histories, `sybil` comes back under a new key each session and never settles, `eclipse` names nobody but its own
kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarmharness.credit.chain import Place
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request
from swarmharness.node.parts import NodeParts
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import SignedAdvert
from swarmharness.registry.messages import (
    FIND_LIMIT_MAX,
    METHOD_FIND,
    METHOD_PUSH,
    FindRequest,
    FindResponse,
    Push,
)
from swarmharness.simulation.cheating import Cheat, Cheater
from swarmharness.simulation.execution import Behaviour
from swarmharness.simulation.network import Sleep
from swarmharness.simulation.randomness import SeededRandomness

CLAIMED_SPEED_PERCENT = 10
FORKED_AFTER_S = 60.0
PUSHED_EVERY_S = 20.0
PUSHED_AT_ONCE = 32
RENEWED = frozenset({"sybil"})
"""Roles whose nodes start each session with another key."""


def behaviour_of(
    role: str, group: str, number: int, *, cheats_permille: int = 1000, cheats_after: int = 0
) -> Behaviour:
    """Return how the executor of a node with this role behaves; a cheat about results cheats on that share of tasks."""
    if role in list(Cheat):
        mark = f"cartel {group}" if role == Cheat.CARTEL else f"wrong {group} {number}"
        randomness = SeededRandomness(f"cheat {group} {number}")
        return Behaviour(cheater=Cheater(Cheat(role), mark.encode(), cheats_permille, randomness, cheats_after))
    match role:
        case "load-liar":
            return Behaviour(claims_queue_percent=0)
        case "speed-liar":
            return Behaviour(claims_speed_percent=CLAIMED_SPEED_PERCENT, claims_queue_percent=0)
        case "refuser":
            return Behaviour(refuses=True)
        case _:
            return Behaviour()


@dataclass(slots=True)
class Eclipse:
    """Answers every search with members of its group only, and pushes their adverts to its neighbours."""

    adverts: Callable[[], Sequence[SignedAdvert]]

    def answer(self, request: Request) -> bytes | None:
        """See `network.Role`."""
        if request.method != METHOD_FIND:
            return None
        decode(FindRequest, request.payload)
        return encode(FindResponse(tuple(self.adverts()[:FIND_LIMIT_MAX])))

    async def push(self, parts: NodeParts, sleep: Sleep) -> None:
        """Push for as long as the node runs."""
        transport = parts.ports.transport
        while True:
            await sleep(PUSHED_EVERY_S)
            for peer_id in sorted(transport.connected())[:PUSHED_AT_ONCE]:
                for signed in list(self.adverts())[:4]:
                    try:
                        await transport.call(peer_id, METHOD_PUSH, encode(Push(signed)), timeout_s=5)
                    except SwarmError:
                        break


def withhold(parts: NodeParts) -> None:
    """Never settle what was asked for."""

    def keep_silent(*_: object) -> None:
        return None

    vars(parts.credit).update(settle_task=keep_silent, settle_game=keep_silent)


async def fork(parts: NodeParts, sleep: Sleep) -> None:
    """Go back to an earlier place of the own chain now and then, and sign other receipts there."""
    writer = parts.credit._writer
    while True:
        place: Place | None = writer._place
        await sleep(FORKED_AFTER_S)
        if place is not None:
            writer._place = place


def sybil_name(group: str, number: int, session: int) -> str:
    """Return what the key of a sybil's session is made from."""
    return f"{group}/{number}/{session}"


def is_free_rider(role: str, serves: Sequence[str]) -> bool:
    """Tell whether nodes of this kind take and do not give."""
    return role in ("sybil", "refuser") or not serves


def known_members(members: Sequence[tuple[PeerId, NodeParts | None]], skill_of: str) -> list[SignedAdvert]:
    """Return the adverts of the running members of a group that serve a skill, or of all if it is empty."""
    found = []
    for _, parts in members:
        if parts is not None:
            advert, signed = parts.registry._own.current()
            if not skill_of or advert.skill(skill_of):
                found.append(signed)
    return found
