"""Asks other nodes for adverts and judges what comes, into the directory; it decides neither when nor whom to ask."""

from __future__ import annotations

from collections.abc import Callable

import trio

from swarmharness.errors import ProtocolError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress, Transport
from swarmharness.network.turns import Turns
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import Advert, SignedAdvert, open_advert
from swarmharness.registry.directory import Directory
from swarmharness.registry.entry import Learned
from swarmharness.registry.messages import (
    FIND_LIMIT_MAX,
    METHOD_ADVERT,
    METHOD_FIND,
    METHOD_PUSH,
    AdvertAnswer,
    AdvertRequest,
    FindRequest,
    FindResponse,
    Push,
)
from swarmharness.registry.reasons import Reasons
from swarmharness.registry.settings import RegistrySettings

PUSHES_AT_ONCE_MAX = 16
ASK_FOUND_AFTER_US = 2_000_000

Listener = Callable[[Advert, SignedAdvert, Learned], None]


class AdvertExchange:
    """`learned` hears of every advert that a node itself has just stood for."""

    def __init__(
        self,
        transport: Transport,
        directory: Directory,
        clock: Clock,
        randomness: Randomness,
        settings: RegistrySettings,
        reasons: Reasons,
        *,
        learned: Listener,
        own_highest: Callable[[], int],
    ) -> None:
        self._transport = transport
        self._directory = directory
        self._clock = clock
        self._randomness = randomness
        self._settings = settings
        self._reasons = reasons
        self._learned = learned
        self._own_highest = own_highest
        self._fetching: dict[PeerId, trio.Event] = {}
        self._slots = Turns(settings.fetches_max)
        self._push_slots = Turns(PUSHES_AT_ONCE_MAX)

    async def fetch(self, peer_id: PeerId) -> None:
        """Ask a node for its advert; the directory hears of the answer or the failure. Concurrent calls share one."""
        if peer_id == self._transport.peer_id:
            return
        running = self._fetching.get(peer_id)
        if running is not None:
            await running.wait()
            return
        done = self._fetching[peer_id] = trio.Event()
        try:
            async with self._slots:
                await self._fetch(peer_id)
        finally:
            del self._fetching[peer_id]
            done.set()

    def fetching(self, peer_id: str) -> bool:
        """Tell whether the node is being asked now."""
        return peer_id in self._fetching

    async def find(
        self, peer_id: PeerId, skill: str, *, timeout_s: float, limit: int = FIND_LIMIT_MAX
    ) -> tuple[PeerId, ...]:
        """Ask a node which others serve a skill; returns those now worth asking themselves."""
        request = encode(FindRequest(skill, limit))
        try:
            answer = await self._transport.call(peer_id, METHOD_FIND, request, timeout_s=timeout_s)
            response = decode(FindResponse, answer)
        except SwarmError:
            return ()
        # Whoever searches asks them in its own order; after a while the refreshing gets to those left over.
        later_us = self._clock.monotonic_us() + ASK_FOUND_AFTER_US
        heard = (self.receive(signed, sender=peer_id, due_us=later_us) for signed in response.adverts)
        return tuple(PeerId(advert.peer_id) for advert in heard if advert is not None and advert.skill(skill))

    async def push(self, peer_id: PeerId, signed: SignedAdvert) -> bool:
        """Tell a node of a changed advert; returns whether it heard. Whether it listens is its own affair."""
        async with self._push_slots:
            try:
                await self._transport.call(
                    peer_id, METHOD_PUSH, encode(Push(signed)), timeout_s=self._settings.fetch_timeout_s
                )
            except SwarmError:
                return False  # it is gone, or hears too much; it asks by itself
            return True

    def receive(self, signed: SignedAdvert, *, sender: PeerId, due_us: int) -> Advert | None:
        """Take in an advert that a node sent unasked or relayed; returns it, or None if it was refused.

        If it is another node's, that node is asked at `due_us`.
        """
        try:
            return self._take(signed, sender, expected=None, due_us=due_us)
        except (ProtocolError, RefusedError) as error:
            self._reasons.refused(sender, error, direct=False)
            return None

    def meet(self, peer: PeerAddress) -> None:
        """Note where a node can be dialled, from a source that may be wrong."""
        if peer.peer_id != self._transport.peer_id and peer.addresses:
            self._transport.add_addresses(peer)

    async def _fetch(self, peer_id: PeerId) -> None:
        timeout_s = self._settings.fetch_timeout_s
        request = encode(AdvertRequest(self._clock.unix_us() // 1_000_000, self._directory.highest(peer_id)))
        try:
            answer = await self._transport.call(peer_id, METHOD_ADVERT, request, timeout_s=timeout_s)
        except SwarmError as error:
            self._directory.failed(peer_id, str(error), now_us=self._clock.monotonic_us())
            return
        try:
            told = decode(AdvertAnswer, answer)
            self._reasons.heard_clock(peer_id, told.unix_s)
            self._take(told.signed, peer_id, expected=peer_id)
        except SwarmError as error:
            reason = self._reasons.refused(peer_id, error, direct=True)
            self._directory.failed(peer_id, reason, now_us=self._clock.monotonic_us())
        else:
            self._reasons.accepted(peer_id)

    def _take(self, signed: SignedAdvert, sender: PeerId, *, expected: PeerId | None = None, due_us: int = 0) -> Advert:
        now_unix_s = self._clock.unix_us() // 1_000_000
        advert = open_advert(signed, now_unix_s=now_unix_s, expected=expected)
        if advert.peer_id == self._transport.peer_id:
            self._reasons.own_advert(advert, told_by=sender, highest=self._own_highest())
            return advert
        now_us = self._clock.monotonic_us()
        direct = advert.peer_id == sender
        due_us = self._refresh_us(now_us) if direct else due_us
        expires_us = now_us + (advert.expires_unix_s - now_unix_s) * 1_000_000
        learned = self._directory.learn(
            advert, signed, direct=direct, now_us=now_us, due_us=due_us, expires_us=expires_us
        )
        self.meet(PeerAddress(PeerId(advert.peer_id), advert.addresses))
        if direct:
            self._learned(advert, signed, learned)
        return advert

    def _refresh_us(self, now_us: int) -> int:
        # 75 to 100% of T_refresh, so that nodes that started together drift apart.
        refresh_us = round(self._settings.refresh_s * 1e6)
        return now_us + refresh_us * 3 // 4 + self._randomness.below(refresh_us // 4 + 1)
