"""Finds nodes for a skill: asks connected nodes and the DHT at once, then every node found; it keeps no adverts."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from swarmharness.identity import PeerId
from swarmharness.network.ports import Dht, PeerAddress, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.registry.advert import skill_key
from swarmharness.registry.directory import CALM_MOST, Directory
from swarmharness.registry.exchange import AdvertExchange
from swarmharness.registry.messages import FIND_LIMIT_MAX
from swarmharness.registry.settings import RegistrySettings

LOOK_UPS_MAX = 256
NEWCOMERS = 2
"""How many strangers a search asks although enough nodes are known."""
ASKED_FOR_EACH = 3
"""Of those that are found, so many are asked for each that is wanted: some are gone."""
AGAIN_AFTER_US = 1_000_000
"""A look-up that found nobody is repeated no sooner."""
AT_ONCE = 3
STAGGER_S = 0.1
"""The first nodes are asked at once, each further one when an answer came or after so long for each before it: many
handshakes side by side would all end late, and nodes that are gone must not hold up the others."""
DHT_AFTER_S = 0.25
"""A walk through the DHT dials strangers too. It waits so long for connected nodes that may know better, unless they
all answered that they know nobody,"""
DHT_SPARED_S = 2.0
"""and so long at most if they know somebody: it is spared if those are enough."""


@dataclass(slots=True)
class LookUp:
    """One search, running or ended."""

    started_us: int
    found: trio.Event = field(default_factory=trio.Event)
    """Somebody answered, or the search ended."""
    done: trio.Event = field(default_factory=trio.Event)
    idle: trio.Event = field(default_factory=trio.Event)
    """Connected nodes have said whom they know, and all of those were asked."""
    pending: int = 1
    """What is left to do until it is idle."""
    asked: set[PeerId] = field(default_factory=set)
    slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(AT_ONCE))

    def one_less(self) -> None:
        """Hear that something that was pending has ended."""
        self.pending -= 1
        if not self.pending:
            self.idle.set()


class LookUps:
    """At most one running search for each skill."""

    def __init__(
        self,
        transport: Transport,
        dht: Dht,
        directory: Directory,
        exchange: AdvertExchange,
        clock: Clock,
        randomness: Randomness,
        settings: RegistrySettings,
    ) -> None:
        self._transport = transport
        self._dht = dht
        self._directory = directory
        self._exchange = exchange
        self._clock = clock
        self._randomness = randomness
        self._settings = settings
        self._latest: dict[str, LookUp] = {}
        self._walked_us: dict[str, int] = {}
        self._started_us = clock.monotonic_us()

    def heard(self, skill: str) -> None:
        """Tell a search that a node for the skill answered."""
        running = self._latest.get(skill)
        if running is not None:
            running.found.set()

    def searching(self, skill: str) -> bool:
        """Tell whether a search for the skill runs."""
        latest = self._latest.get(skill)
        return latest is not None and not latest.done.is_set()

    def age_us(self, skill: str) -> int | None:
        """Return how long ago the skill was last searched for, or None if it was not."""
        latest = self._latest.get(skill)
        return None if latest is None else self._clock.monotonic_us() - latest.started_us

    def start(self, skill: str, nursery: trio.Nursery, *, online: trio.Event) -> LookUp:
        """Return the running search for a skill, or a new one in `nursery`; one that just ended counts as running."""
        latest, now_us = self._latest.get(skill), self._clock.monotonic_us()
        if latest is not None and (not latest.done.is_set() or now_us - latest.started_us < AGAIN_AFTER_US):
            return latest
        self._latest.pop(skill, None)
        search = self._latest[skill] = LookUp(now_us)
        if len(self._latest) > LOOK_UPS_MAX:
            del self._latest[next(iter(self._latest))]
        nursery.start_soon(self._run, skill, search, online)
        return search

    async def _run(self, skill: str, search: LookUp, online: trio.Event) -> None:
        try:
            with trio.move_on_after(2 * self._settings.look_up_timeout_s):
                if not self._transport.connected():
                    await online.wait()
                async with trio.open_nursery() as nursery:
                    nobody_knows = trio.Event()
                    nursery.start_soon(self._by_peers, skill, search, nursery, nobody_knows)
                    with trio.move_on_after(DHT_AFTER_S):
                        await nobody_knows.wait()
                    if self._directory.candidates(skill):
                        with trio.move_on_after(DHT_SPARED_S):
                            await search.idle.wait()
                    await self._by_dht(skill, search, nursery)
        finally:
            search.found.set()
            search.done.set()

    async def _by_peers(self, skill: str, search: LookUp, nursery: trio.Nursery, nobody_knows: trio.Event) -> None:
        async with trio.open_nursery() as finders:
            for peer_id in self._some_connected(skill):
                finders.start_soon(self._by_peer, skill, peer_id, search, nursery)
        if not search.asked:
            nobody_knows.set()
        search.one_less()

    async def _by_peer(self, skill: str, peer_id: PeerId, search: LookUp, nursery: trio.Nursery) -> None:
        if self._directory.get(peer_id) is None:
            nursery.start_soon(self._exchange.fetch, peer_id)
        limit = min(FIND_LIMIT_MAX, self._room(skill))
        timeout_s = self._settings.look_up_timeout_s
        for found in await self._exchange.find(peer_id, skill, timeout_s=timeout_s, limit=limit):
            self._ask(skill, found, search, nursery)

    async def _by_dht(self, skill: str, search: LookUp, nursery: trio.Nursery) -> None:
        """Ask the DHT, which is dear: with candidates at hand, once in a refresh period; with enough, once in 32."""
        now_us, enough = self._clock.monotonic_us(), self._directory.enough(skill)
        walked_us = self._walked_us.get(skill, self._started_us if enough else None)
        calm = CALM_MOST if enough else 1
        recently = walked_us is not None and now_us - walked_us < calm * self._settings.refresh_s * 1e6
        if recently and self._directory.candidates(skill):
            return
        self._walked_us.pop(skill, None)
        self._walked_us[skill] = now_us
        if len(self._walked_us) > LOOK_UPS_MAX:
            del self._walked_us[next(iter(self._walked_us))]
        for peer in await self._dht.find_providers(skill_key(skill), limit=self._settings.providers_max):
            self._exchange.meet(PeerAddress(peer.peer_id, peer.addresses))
            self._ask(skill, peer.peer_id, search, nursery)

    def _ask(self, skill: str, peer_id: PeerId, search: LookUp, nursery: trio.Nursery) -> None:
        entry = self._directory.get(peer_id)
        fresh = entry is not None and entry.usable
        spare = 1 if self._directory.enough(skill) else ASKED_FOR_EACH
        full = len(search.asked) >= spare * self._room(skill)
        if peer_id == self._transport.peer_id or peer_id in search.asked or fresh or full:
            return
        if self._directory.worth_asking(peer_id, self._clock.monotonic_us()):
            search.asked.add(peer_id)
            search.pending += 1
            nursery.start_soon(self._fetch_in_turn, skill, peer_id, len(search.asked), search)

    async def _fetch_in_turn(self, skill: str, peer_id: PeerId, place: int, search: LookUp) -> None:
        mine = False
        with trio.move_on_after(place * STAGGER_S):
            await search.slots.acquire()
            mine = True
        try:
            if place <= NEWCOMERS or not self._directory.enough(skill):  # else those before it were enough
                await self._exchange.fetch(peer_id)
        finally:
            if mine:
                search.slots.release()
            search.one_less()

    def _room(self, skill: str) -> int:
        """Return how many nodes a search should bring; with enough at hand a few, so that newcomers get known."""
        missing = self._directory.settings.enough - len(self._directory.candidates(skill))
        return max(NEWCOMERS, missing)

    def _some_connected(self, skill: str) -> list[PeerId]:
        left = sorted(self._transport.connected())
        most = NEWCOMERS if self._directory.enough(skill) else self._settings.find_peers_max
        count = min(most, len(left))
        return [left.pop(self._randomness.below(len(left))) for _ in range(count)]
