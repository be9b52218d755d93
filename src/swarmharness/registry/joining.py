"""Gets this node into a swarm and back into it: configured addresses and invites first, then remembered peers.

Whatever fails is kept as a `Problem` until it works: discovery that fails silently helps nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio

from swarmharness.errors import DeadlineError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.registry.settings import RegistrySettings

TARGETS_MAX = 64
REMEMBERED_TRIED_MAX = 8
PROBLEMS_MAX = 128
ALONE = "swarm"
"""The subject of the problem that nobody is connected."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about discovery that does not work at the moment."""

    subject: str
    text: str
    since_unix_s: int
    attempts: int


class Joining:
    """`changed` must be called when a peer connects or is lost."""

    def __init__(self, transport: Transport, clock: Clock, randomness: Randomness, settings: RegistrySettings) -> None:
        self._transport = transport
        self._clock = clock
        self._randomness = randomness
        self._settings = settings
        self._targets: dict[PeerId, PeerAddress] = {}
        self._remembered: tuple[PeerAddress, ...] = ()
        self._problems: dict[str, Problem] = {}
        self._attempting = 0
        self._tried = False
        self._pause_s = settings.join_first_s
        self._wake = trio.Event()
        self._retry = trio.Event()

    # -- questions --------------------------------------------------------------------------------------------

    def problems(self) -> tuple[Problem, ...]:
        """Return what does not work now, oldest first."""
        return tuple(sorted(self._problems.values(), key=lambda problem: problem.since_unix_s))

    @property
    def hopeful(self) -> bool:
        """Whether a connection may come about without anybody's doing."""
        return self._attempting > 0 or (not self._tried and bool(self._targets or self._remembered))

    # -- telling ----------------------------------------------------------------------------------------------

    def remember(self, peers: Sequence[PeerAddress]) -> None:
        """Take in peers from an earlier run, the latest seen first."""
        self._remembered = tuple(peer for peer in peers if peer.peer_id != self._transport.peer_id)
        for peer in self._remembered:
            self._transport.add_addresses(peer)  # others may need one of them before this node is anywhere
        self.changed()

    def add(self, peers: Iterable[PeerAddress]) -> None:
        """Keep trying to be connected to these from now on."""
        for peer in peers:
            if peer.peer_id == self._transport.peer_id:
                self.report(f"join {peer.peer_id}", "this is the node's own address; name another node")
            elif len(self._targets) < TARGETS_MAX or peer.peer_id in self._targets:
                self._targets[peer.peer_id] = peer
                self._tried = False
                self._transport.add_addresses(peer)
            else:
                self.report(f"join {peer.peer_id}", f"a node joins by at most {TARGETS_MAX} others; name fewer")
        self.changed()

    def changed(self) -> None:
        """Look again at who is connected."""
        if self._transport.connected():
            self.solved(ALONE)
        wake, self._wake = self._wake, trio.Event()
        wake.set()

    def retry(self) -> None:
        """Hear that the network is another one: who could not be reached is tried now, and often again."""
        self._pause_s = self._settings.join_first_s
        retry, self._retry = self._retry, trio.Event()
        retry.set()
        self.changed()

    def report(self, subject: str, text: str) -> None:
        """Keep a problem, or count it again."""
        old = self._problems.pop(subject, None)
        since_unix_s = self._clock.unix_us() // 1_000_000 if old is None else old.since_unix_s
        self._problems[subject] = Problem(subject, text, since_unix_s, 1 if old is None else old.attempts + 1)
        if len(self._problems) > PROBLEMS_MAX:
            del self._problems[next(iter(self._problems))]

    def solved(self, subject: str) -> None:
        """Forget a problem."""
        self._problems.pop(subject, None)

    # -- acting -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Try the targets that are not connected, with growing pauses; while alone, remembered peers as well."""
        while True:
            wake, retry = self._wake, self._retry
            await self._attempt_missing()
            if not self._transport.connected():
                await self.attempt(self._some_remembered())
            self._tried = True
            connected = frozenset(self._transport.connected())
            alone = not connected and bool(self._targets or self._remembered)
            if not alone and connected.issuperset(self._targets):
                self._pause_s = self._settings.join_first_s
                self.solved(ALONE)
                await wake.wait()
                continue
            if alone:
                self.report(ALONE, "no node is connected; see the other problems, or join with a fresh invite")
            else:
                self.solved(ALONE)
            with trio.move_on_after(self._pause_s * (0.75 + self._randomness.below(500) / 1000)):
                await retry.wait()
                continue
            self._pause_s = min(self._pause_s * 2, self._settings.join_most_s)

    async def _attempt_missing(self) -> None:
        connected = frozenset(self._transport.connected())
        if not connected.issuperset(self._targets):
            await self.attempt([peer for peer_id, peer in self._targets.items() if peer_id not in connected])

    async def attempt(self, peers: Sequence[PeerAddress]) -> dict[PeerId, SwarmError | None]:
        """Connect to these peers at once; returns what went wrong with each, which is kept as a problem too."""
        outcome: dict[PeerId, SwarmError | None] = {}
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._connect, peer, outcome)
        return outcome

    async def _connect(self, peer: PeerAddress, outcome: dict[PeerId, SwarmError | None]) -> None:
        subject = f"join {peer.peer_id}"
        self._transport.add_addresses(peer)
        self._attempting += 1
        try:
            with trio.fail_after(2 * self._settings.fetch_timeout_s):
                await self._transport.connect(peer.peer_id, timeout_s=self._settings.fetch_timeout_s)
        except (SwarmError, trio.TooSlowError) as error:
            failure = error if isinstance(error, SwarmError) else DeadlineError("it did not answer in time")
            outcome[peer.peer_id] = failure
            if peer.peer_id in self._targets:
                self.report(subject, f"{failure} (tried {', '.join(peer.addresses) or 'no address'})")
        else:
            outcome[peer.peer_id] = None
            self.solved(subject)
        finally:
            self._attempting -= 1

    def _some_remembered(self) -> list[PeerAddress]:
        """Choose at random: the latest seen ones may all be gone together."""
        left = list(self._remembered)
        count = min(REMEMBERED_TRIED_MAX, len(left))
        return [left.pop(self._randomness.below(len(left))) for _ in range(count)]
