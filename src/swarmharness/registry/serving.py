"""Tells other nodes of adverts: answers those who ask, and pushes changes to those who asked lately; it asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from swarmharness.errors import RefusedError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import Advert, SignedAdvert, changed_materially
from swarmharness.registry.askers import Askers, Finders, PushLimit
from swarmharness.registry.directory import CALM_MOST, Directory
from swarmharness.registry.exchange import AdvertExchange
from swarmharness.registry.messages import (
    METHOD_ADVERT,
    METHOD_FIND,
    METHOD_PUSH,
    AdvertAnswer,
    AdvertRequest,
    FindRequest,
    FindResponse,
    Push,
    PushResponse,
)
from swarmharness.registry.own_advert import OwnAdvert
from swarmharness.registry.settings import RegistrySettings

FIND_BYTES_MAX = 192 * 1024
TOLD_FOR_REFRESHES = CALM_MOST + 1
"""Who asked hears of changes until it asks again."""
SEEKING_FOR_REFRESHES = 3
"""Who was told of too few nodes hears of those that come in so many refresh periods."""
RELAYED_TO_MAX = 1
"""How many of those who look for a skill hear of a node for it: the latest ones."""


class AdvertServing:
    """Sets the handlers of the registry's three methods.

    `pushed` is called after a push of a node to ask now, `asked` when a node asks for this one's advert.
    """

    def __init__(
        self,
        transport: Transport,
        own: OwnAdvert,
        directory: Directory,
        exchange: AdvertExchange,
        clock: Clock,
        randomness: Randomness,
        settings: RegistrySettings,
        *,
        pushed: Callable[[], None],
        asked: Callable[[PeerId, AdvertRequest], None],
    ) -> None:
        self._transport = transport
        self._own = own
        self._directory = directory
        self._exchange = exchange
        self._clock = clock
        self._randomness = randomness
        refresh_us = round(settings.refresh_s * 1e6)
        self._askers = Askers(TOLD_FOR_REFRESHES * refresh_us)
        self._finders = Finders(SEEKING_FOR_REFRESHES * refresh_us)
        self._limit = PushLimit()
        self._pushed = pushed
        self._asked = asked
        self.looked_for: Callable[[PeerId, str], None] = lambda peer_id, skill: None
        """Hears that a node looks for a skill."""
        self._told: Advert | None = None
        self._owed: set[PeerId] = set()
        """Askers that were away when this node's advert changed; never more than there are askers."""
        transport.handle(METHOD_ADVERT, self._on_advert)
        transport.handle(METHOD_FIND, self._on_find)
        transport.handle(METHOD_PUSH, self._on_push)

    def push_own(self, nursery: trio.Nursery) -> None:
        """Tell those who asked lately of this node's advert, if it changed in a way that matters.

        Who is away hears of it when it is back: what changed may be the very address by which it was connected.
        """
        advert, _ = self._own.current()
        if self._told is not None and changed_materially(self._told, advert):
            self._owed = set(self._askers.current(self._clock.monotonic_us()))
            for peer_id in sorted(self._owed.intersection(self._transport.connected())):
                self.came(peer_id, nursery)
        elif self._told is not None:
            return
        self._told = advert

    def came(self, peer_id: PeerId, nursery: trio.Nursery) -> None:
        """Tell a connected node what it has not heard of this node's advert yet, if it asked for it lately."""
        if peer_id in self._owed:
            nursery.start_soon(self._push_own_to, peer_id)

    async def _push_own_to(self, peer_id: PeerId) -> None:
        told = self._told
        if await self._exchange.push(peer_id, self._own.current()[1]) and self._told is told:
            self._owed.discard(peer_id)  # it heard, and nothing changed meanwhile

    def relay(self, advert: Advert, signed: SignedAdvert, nursery: trio.Nursery) -> None:
        """Tell those who look for one of its skills of another node's advert; they do not pass it on."""
        now_us = self._clock.monotonic_us()
        lately = [peer for skill in advert.skills for peer in self._finders.of(skill.name, now_us)[-RELAYED_TO_MAX:]]
        self._push(frozenset(lately) - {PeerId(advert.peer_id)}, signed, nursery)

    def _push(self, peers: Iterable[PeerId], signed: SignedAdvert, nursery: trio.Nursery) -> None:
        for peer_id in sorted(frozenset(self._transport.connected()).intersection(peers)):
            nursery.start_soon(self._exchange.push, peer_id, signed)

    async def _on_advert(self, request: Request) -> bytes:
        wanted = decode(AdvertRequest, request.payload)
        self._askers.add(request.peer_id, self._clock.monotonic_us())
        self._owed.discard(request.peer_id)
        self._asked(request.peer_id, wanted)
        signed = self._own.current()[1]
        return encode(AdvertAnswer(signed.advert, signed.signature, self._clock.unix_us() // 1_000_000))

    async def _on_find(self, request: Request) -> bytes:
        wanted = decode(FindRequest, request.payload)
        self.looked_for(request.peer_id, wanted.skill)
        entries = self._directory.holders(wanted.skill)
        known = [entry.signed for entry in entries if entry.usable and not entry.advert.not_serving]
        advert, signed = self._own.current()
        if advert.skill(wanted.skill) is not None and not advert.not_serving:
            known.append(signed)
        # Another start for each asker, so that not all of them end up at the same nodes.
        start = self._randomness.below(len(known)) if known else 0
        answer: list[SignedAdvert] = []
        size_bytes = 0
        for candidate in (known[start:] + known[:start])[: wanted.limit]:
            size_bytes += len(candidate.advert) + 128
            if size_bytes <= FIND_BYTES_MAX:
                answer.append(candidate)
        if len(answer) < wanted.limit:  # it hears of those whom this node meets next, too
            self._finders.add(wanted.skill, request.peer_id, self._clock.monotonic_us())
        return encode(FindResponse(tuple(answer)))

    async def _on_push(self, request: Request) -> bytes:
        now_us = self._clock.monotonic_us()
        if not self._limit.admit(request.peer_id, now_us):
            raise RefusedError("too many adverts were pushed in ten seconds; this node will ask by itself")
        advert = self._exchange.receive(decode(Push, request.payload).advert, sender=request.peer_id, due_us=now_us)
        entry = None if advert is None else self._directory.get(advert.peer_id)
        if entry is not None and not entry.usable and self._directory.lacks(entry.advert, now_us):
            self._pushed()
        return encode(PushResponse())
