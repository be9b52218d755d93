"""SwarmRegistry at work: keeps this node known to others and the directory fresh; it ranks nobody and runs nothing.

A skill that is in the directory is answered from memory. One that is not starts a look-up, and the first nodes that
answer for themselves end the wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

import trio

from swarmharness.errors import SwarmError, UnavailableError, cause_text
from swarmharness.identity import PeerId
from swarmharness.network.ports import Dht, PeerAddress, PeerEvent, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.refusals import Refusals
from swarmharness.registry.advert import Advert, DeviceInfo, SignedAdvert, skill_key
from swarmharness.registry.directory import CALM_MOST, Directory
from swarmharness.registry.entry import Known, Learned
from swarmharness.registry.exchange import AdvertExchange
from swarmharness.registry.invite import parse_join_target
from swarmharness.registry.joining import ALONE, Joining, Problem
from swarmharness.registry.local_network import LanDiscovery, LocalNetwork
from swarmharness.registry.look_up import LookUp, LookUps
from swarmharness.registry.messages import AdvertRequest
from swarmharness.registry.own_advert import OwnAdvert
from swarmharness.registry.reasons import Reasons
from swarmharness.registry.remembered import RememberedPeers
from swarmharness.registry.serving import AdvertServing
from swarmharness.registry.settings import RegistrySettings
from swarmharness.registry.stores import PeerStore

TICK_S = 1.0
OWN_LOOK_S = 15.0
"""A node that uses no skill looks at least so often whether its own advert changed."""
PUBLISH_CALM = 32
"""Provider records are renewed once in so many refresh periods: of the 20 nodes that hold one, some leave."""
REASONS_SHOWN = 3
_NUMBERS = "sequence numbers"


class RegistryService:
    """Construct it before peers connect (it sets handlers), then `await nursery.start(service.run)`."""

    def __init__(
        self,
        transport: Transport,
        dht: Dht,
        own: OwnAdvert,
        clock: Clock,
        randomness: Randomness,
        *,
        peers: PeerStore,
        settings: RegistrySettings | None = None,
        lan: LanDiscovery | None = None,
        refusals: Refusals | None = None,
        unoffered: Callable[[str], str] = lambda skill: "",
    ) -> None:
        """`unoffered` says why this node does not offer a skill that it has, or nothing."""
        self._settings = settings = settings or RegistrySettings()
        self._transport = transport
        self._dht = dht
        self._own = own
        self._clock = clock
        self._randomness = randomness
        directory = self._directory = Directory(settings.directory)
        self._unoffered = unoffered
        self.reasons = Reasons(transport.peer_id, clock, refusals or Refusals(clock.monotonic_us))
        exchange = self._exchange = AdvertExchange(
            transport,
            directory,
            clock,
            randomness,
            settings,
            self.reasons,
            learned=self._learned,
            own_highest=lambda: own.highest,
        )
        self._joining = Joining(transport, clock, randomness, settings)
        self._remembered = RememberedPeers(peers, self._joining)
        self._has_remembered = False
        self._look_ups = LookUps(transport, dht, directory, exchange, clock, randomness, settings)
        self._serving = AdvertServing(
            transport,
            own,
            directory,
            exchange,
            clock,
            randomness,
            settings,
            pushed=self._wake_up,
            asked=self._asked,
        )
        self._merged: dict[str, tuple[tuple[Advert, ...], Advert, tuple[Advert, ...]]] = {}
        self._saved_us, self._unsaved = clock.monotonic_us(), False
        self._nursery: trio.Nursery | None = None
        self._online, self._wake, self._publish_now = trio.Event(), trio.Event(), trio.Event()
        self._lan = None if lan is None else LocalNetwork(lan, transport, self._joining)
        transport.watch(self._on_peer)
        transport.watch_addresses(self._on_move)

    # -- what the router and the node ask -----------------------------------------------------------------------

    async def candidates(self, skill: str) -> tuple[Advert, ...]:
        """Return the adverts of the nodes that can serve a skill now, this node included, by peer id.

        What is known is answered at once, and the same tuple as long as nothing changes. Otherwise waits for a look-up,
        at most `look_up_timeout_s`, and in any case `gather_s` the first time that a skill is asked for: those who
        happen to be known need not be the best. Raises UnavailableError, with the nearest names, if nobody is found.
        """
        self._directory.use(skill, self._clock.monotonic_us())
        age_us = self._look_ups.age_us(skill)
        looked_up = age_us is not None and age_us <= self._look_up_interval_us(skill)
        found = self._known_candidates(skill)
        if self._nursery is not None and (not found or not looked_up):
            search = self._look_ups.start(skill, self._nursery, online=self._online)
            known = bool(self._directory.candidates(skill))
            if (age_us is None or not known) and (self._transport.connected() or self._joining.hopeful):
                await self._wait_for(search, known)
                found = self._known_candidates(skill)
        if not found:
            raise UnavailableError(self._nobody_serves(skill))
        return found

    def known(self) -> tuple[Known, ...]:
        """Return every node with an advert: this one first, then by peer id."""
        others = sorted(self._directory, key=lambda entry: entry.advert.peer_id)
        unheard = "it has not answered yet"
        return (
            Known(self._own.advert, True, ""),
            *(Known(entry.advert, entry.usable, "" if entry.usable else entry.reason or unheard) for entry in others),
        )

    def addresses_of(self, peer_id: PeerId) -> tuple[str, ...]:
        """Return the addresses in a peer's advert; none if it is not known."""
        entry = self._directory.get(peer_id)
        return () if entry is None else entry.advert.addresses

    def note_failure(self, peer_id: PeerId, reason: str) -> None:
        """Hear that a peer failed a task: it is no candidate until it answers again, and is asked at once."""
        self._directory.suspect(peer_id, reason, now_us=self._clock.monotonic_us())
        self._wake_up()

    def skills_changed(self) -> None:
        """Hear that this node's skills changed, or whether it serves: others are told now."""
        if self._nursery is not None:
            self._own.current(changed=True)
            self._publish_now.set()
            self._wake_up()

    def device_changed(self, device: DeviceInfo) -> None:
        """Hear what this node's machine is now."""
        self._own.device = device
        self.skills_changed()

    async def join(self, targets: Iterable[str]) -> dict[PeerId, SwarmError | None]:
        """Connect to invites or full addresses, and keep trying those that fail; returns what went wrong with each.

        Raises ConfigurationError, before anything is tried, for a text that is neither.
        """
        now_unix_s = self._clock.unix_us() // 1_000_000
        return await self.join_peers([parse_join_target(text, now_unix_s=now_unix_s).peer for text in targets])

    async def join_peers(self, peers: Sequence[PeerAddress]) -> dict[PeerId, SwarmError | None]:
        """Do as `join`, for addresses already parsed; possible once the service runs."""
        self._joining.add(peers)
        return await self._joining.attempt([peer for peer in peers if peer.peer_id != self._transport.peer_id])

    def watch_searches(self, listener: Callable[[PeerId, str], None]) -> None:
        """Call `listener`, which must not block, with each node that looks for a skill here, from now on."""
        self._serving.looked_for = listener

    def problems(self) -> tuple[Problem, ...]:
        """Return what does not work in discovery now: what hides nodes from each other, then the oldest first."""
        return (*self.reasons.problems(), *self._joining.problems())

    def status(self) -> dict[str, Any]:
        """Return plain values for `node status` and `doctor`."""
        return {
            "connected": len(self._transport.connected()),
            "known_nodes": len(self._directory),
            "usable_nodes": sum(entry.usable for entry in self._directory),
            "skills": {skill: len(self._directory.candidates(skill)) for skill in self._directory.skills()},
            "clocks": {"compared": self.reasons.clocks.compared, "ahead_s": dict(self.reasons.clocks.wrong)},
            "problems": [asdict(problem) for problem in self.problems()],
        }

    # -- running ----------------------------------------------------------------------------------------------

    async def remember(self) -> None:
        """Take in the peers of an earlier run; `run` does so, unless others needed their addresses before (C-17)."""
        if not self._has_remembered:
            self._has_remembered = True
            self._joining.remember(await self._remembered.load())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; raises OSError if the advert's numbering cannot be kept."""
        await self._own.open()
        await self.remember()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._maintain, nursery)
                nursery.start_soon(self._publish)
                nursery.start_soon(self._joining.run)
                if self._lan is not None:
                    nursery.start_soon(self._lan.run, nursery)
                for peer_id in self._transport.connected():
                    nursery.start_soon(self._exchange.fetch, peer_id)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery = None  # inside the nursery, so that nothing is started in one that has closed
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._remembered.save(self._directory)

    async def _maintain(self, nursery: trio.Nursery) -> None:
        """Refresh who is due, evict who is gone, push what changed: now and then, and when something happened."""
        while True:
            wake, now_us = self._wake, self._clock.monotonic_us()
            connected = frozenset(self._transport.connected())
            if self.reasons.clock_was_set():
                for peer_id in connected:  # whoever was refused may be right now, and should hear that this node is
                    nursery.start_soon(self._exchange.fetch, peer_id)
            self.reasons.forget_clocks(connected)
            self._directory.evict(now_us, connected=connected)
            for peer in self._directory.due(now_us, connected=connected, limit=self._settings.fetches_max):
                if not self._exchange.fetching(peer):
                    nursery.start_soon(self._exchange.fetch, PeerId(peer))
            self._serving.push_own(nursery)
            await self._reserve()
            pause_s = self._pause_s(now_us)
            if self._unsaved and now_us - self._saved_us > max(1.0, pause_s) * self._settings.save_interval_s * 1e6:
                self._saved_us, self._unsaved = now_us, False
                await self._remembered.save(self._directory)
            with trio.move_on_after(pause_s):
                await wake.wait()
                await trio.sleep(0.01)  # so that no peer can keep this loop spinning

    def _pause_s(self, now_us: int) -> float:
        """Return how long nothing has to be done: the more nodes are known, the more seldom each of them is asked.

        A node that uses no skill waits until somebody is due, and looks now and then whether its own advert changed.
        """
        directory, refresh_s = self._directory, self._settings.refresh_s
        pause_s = TICK_S * (-(-directory.calm // 4)) ** 2
        if not directory.used(now_us):
            pause_s = max(pause_s, min(OWN_LOOK_S, (directory.nobody_before_us - now_us) / 1e6))
        if self._unsaved:
            pause_s = min(pause_s, self._settings.save_interval_s)
        return min(pause_s, max(TICK_S, refresh_s))

    async def _publish(self) -> None:
        """Renew this node's provider records, from the moment somebody is there to hold them."""
        await self._online.wait()
        renewal_s = PUBLISH_CALM * self._settings.refresh_s
        while True:
            self._publish_now = trio.Event()
            advert = self._own.current()[0]
            for skill in () if advert.not_serving else advert.skills:
                await self._dht.provide(skill_key(skill.name))
            with trio.move_on_after(renewal_s * (0.75 + self._randomness.below(250) / 1000)):
                await self._publish_now.wait()

    async def _reserve(self) -> None:
        try:
            await self._own.reserve()
        except OSError as error:
            self._joining.report(_NUMBERS, f"cannot be kept, so this node's advert will go stale: {error}")
        else:
            self._joining.solved(_NUMBERS)

    # -- what happens -----------------------------------------------------------------------------------------

    def _on_move(self) -> None:
        """The addresses of this node changed: others are told, and whoever is out of reach is tried again."""
        if self._lan is not None:
            self._lan.look_anew()
        self.skills_changed()
        self._joining.retry()

    def _on_peer(self, event: PeerEvent) -> None:
        if not event.connected:
            reason = event.reason or "its connection ended"
            self._directory.suspect(event.peer_id, reason, now_us=self._clock.monotonic_us())
            self._wake_up()
        elif self._nursery is not None:
            self._serving.came(event.peer_id, self._nursery)
            entry = self._directory.get(event.peer_id)
            if entry is None or not entry.usable:
                self._nursery.start_soon(self._exchange.fetch, event.peer_id)
        self._joining.changed()

    def _asked(self, peer_id: PeerId, request: AdvertRequest) -> None:
        """A node asked for this one's advert, and said what time it has and which of these adverts it knows."""
        self.reasons.own_sequence(request.sequence, told_by=peer_id, highest=self._own.highest)
        if self.reasons.heard_clock(peer_id, request.unix_s) and self._nursery is not None:
            self._nursery.start_soon(self._exchange.fetch, peer_id)  # its clock was set

    def _learned(self, advert: Advert, signed: SignedAdvert, learned: Learned) -> None:
        """A node stood for its advert: end searches, keep it in the DHT's table, tell those who look for it."""
        for skill in () if advert.not_serving else advert.skills:
            self._look_ups.heard(skill.name)
        if self._nursery is None:
            return
        if advert.addresses:
            self._nursery.start_soon(self._add_to_dht, PeerAddress(PeerId(advert.peer_id), advert.addresses))
        if learned is not Learned.REFRESHED:
            self._unsaved = True
            self._serving.relay(advert, signed, self._nursery)

    async def _add_to_dht(self, peer: PeerAddress) -> None:
        try:
            await self._dht.add_peer(peer)
        except Exception as error:  # an advert may hold addresses that the adapter cannot parse, in whatever way
            self._joining.report(f"dht {peer.peer_id}", f"it cannot help with look-ups: {cause_text(error)}")
        else:
            self._online.set()

    def _look_up_interval_us(self, skill: str) -> int:
        calm_s = CALM_MOST * self._settings.refresh_s if self._directory.enough(skill) else 0.0
        return round(max(self._settings.look_up_interval_s, calm_s) * 1e6)

    async def _wait_for(self, search: LookUp, known: bool) -> None:
        """Wait until the search has an answer, and `gather_s` from now for more, if it lasts so long."""
        with trio.move_on_after(self._settings.gather_s):
            await search.done.wait()
        if not known:
            with trio.move_on_after(self._settings.look_up_timeout_s):
                await search.found.wait()

    def _known_candidates(self, skill: str) -> tuple[Advert, ...]:
        others, own = self._directory.candidates(skill), self._own.advert
        if own.skill(skill) is None:
            return others
        before = self._merged.get(skill)
        if before is None or before[0] is not others or before[1] is not own:
            merged = tuple(sorted((*others, own), key=lambda advert: advert.peer_id))
            before = self._merged[skill] = others, own, merged
        return before[2]

    def _nobody_serves(self, skill: str) -> str:
        """Say that nobody does, and every reason for it that is known here."""
        own = self._unoffered(skill)
        offered = f"this node has it and does not offer it: {own}" if own else ""
        return "; ".join(part for part in (self._nobody_known(skill), offered, self.reasons.text()) if part)

    def _nobody_known(self, skill: str) -> str:
        entries = self._directory.holders(skill)
        if entries:
            away = [entry.advert.not_serving_text for entry in entries if entry.usable]
            if away:
                return f"no node serves {skill!r} now: {_counted(away)} ({len(entries)} known)"
            reasons = _counted([entry.reason or "no answer yet" for entry in entries])
            return f"no node that serves {skill!r} answers now ({len(entries)} known: {reasons})"
        names = sorted({*self._directory.skills(), *(offer.name for offer in self._own.advert.skills)})
        near = get_close_matches(skill, names, n=3)
        if near:
            return f"no node serves {skill!r}; did you mean {' or '.join(near)}?"
        if not self._transport.connected():
            problems = [problem for problem in self._joining.problems() if problem.subject != ALONE]
            why = f": {problems[0].subject}: {problems[0].text}" if problems else "; join a swarm with --join"
            return f"no node serves {skill!r}, and no other node is connected{why}"
        return f"no node serves {skill!r}; " + (f"known here are {', '.join(names)}" if names else "no skill is known")

    def _wake_up(self) -> None:
        wake, self._wake = self._wake, trio.Event()
        wake.set()


def _counted(reasons: list[str]) -> str:
    """Return the reasons that occur most, the rest as a number."""
    counts = Counter(reasons).most_common()
    shown = [f"{reason} ({count} times)" if count > 1 else reason for reason, count in counts[:REASONS_SHOWN]]
    more = [f"{len(counts) - REASONS_SHOWN} other reasons"] if len(counts) > REASONS_SHOWN else []
    return "; ".join(shown + more)
