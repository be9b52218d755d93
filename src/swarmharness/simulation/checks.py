"""Judges a simulated swarm after every step, by the numbered invariants; it changes nothing and waits for nothing.

What an event can break is checked with the event, at a constant cost. What only a look at a whole node shows is checked
node by node: an audit of a node with n entries is paid for by n events, so that the cost of an event stays flat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import Floor
from swarmharness.credit.receipt import Half, body_digest, link_digest, receipt_problem
from swarmharness.identity import PeerId
from swarmharness.registry.directory import EVICT_AFTER_REFRESHES
from swarmharness.routing.records import RECORDS_MAX
from swarmharness.simulation.trace import Event

if TYPE_CHECKING:
    from swarmharness.simulation.node import SimulatedNode
    from swarmharness.simulation.swarm import Swarm

EVENTS_PER_ENTRY = 4
"""An audit looks at one entry for so many events."""
FORGET_SLACK_US = 30_000_000
GRACE_S = 5.0
PEERS_MAX = 512


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold."""

    invariant: str
    """Its number in ARCHITECTURE.md or docs/credit-rules.md."""
    text: str
    step: int
    at_us: int


@dataclass(slots=True)
class Watched:
    """A request that must end: answered, or named as unanswered."""

    number: int
    node: SimulatedNode
    session: int
    items: int
    ended: bool = False


class Checks:
    """`violations` holds what was found; the simulation ends at the step after the first."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self.violations: list[Violation] = []
        self._chains: dict[tuple[str, int, int], bytes] = {}
        """What each signer signed at each place of its chains."""
        self._holders: dict[tuple[str, int, int], set[int]] = {}
        """Which other nodes have the half of a place."""
        self._lost: set[tuple[str, int, int]] = set()
        """Places that their signer's lying disk or old backup knows no more."""
        self._on_disk: set[tuple[bytes, str]] = set()
        self._paid: dict[bytes, bytes] = {}
        self._counted: set[bytes] = set()
        self.moved_microcredits = 0
        self.earned: dict[int, int] = {}
        """Micro-credits by the index of a node, in receipts that count."""
        self.spent: dict[int, int] = {}
        self._due: list[tuple[float, int, Watched]] = []
        self._audited = 0
        self._credit = 0
        self._events = 0
        self.audits = 0
        self.healed_us = 0
        """When the last fault ended; a large number while one lasts."""

    # -- with each event ------------------------------------------------------------------------------------------

    def handled(self, node: int, method: str, deadline_s: float) -> None:
        """N-3: no handler starts after its caller's deadline."""
        if trio.current_time() > deadline_s:
            self._broken("N-3", f"node {node} handles {method} after its deadline")

    def started(self, node: SimulatedNode) -> None:
        """Hear that a session begins."""

    def committed(self, node: SimulatedNode, entries: Sequence[Entry]) -> None:
        """S-1, S-2, C-4: hear what a node's disk now holds."""
        moved = 0
        for entry in entries:
            digest = body_digest(entry.body)
            for half in (entry.requester_half, entry.worker_half):
                if half is not None and half.content.signer == node.peer_id:
                    self._on_disk.add((digest, node.peer_id))
                    self._check_chain(node, half)
                elif half is not None:
                    self._check_other(node, digest, half)
            if entry.receipt is not None and digest not in self._counted:
                self._counted.add(digest)
                moved += entry.body.share_microcredits
                self._count(node, entry, digest)
        self._swarm.trace.note(Event.RECEIPT, self._swarm.now_us(), node.index, len(entries), moved)

    def watch(self, watched: Watched, deadline_s: float) -> None:
        """J-1: this request must end by its deadline, and a little."""
        heappush(self._due, (trio.current_time() + deadline_s + GRACE_S, watched.number, watched))

    def ended(self, watched: Watched, indices: Sequence[int], unnamed: int) -> None:
        """J-1: a request ended with results for these indices, some of which have neither output nor error."""
        watched.ended = True
        if list(indices) != list(range(watched.items)):
            self._broken(
                "J-1", f"request {watched.number} of {watched.items} items got results for {list(indices)[:9]}"
            )
        if unnamed:
            self._broken("J-1", f"request {watched.number}: {unnamed} items have neither an output nor an error")

    # -- after each step ------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Everything at one instant has happened."""
        now_s = self._swarm.clock.current_time()
        while self._due and self._due[0][0] <= now_s:
            _, _, watched = heappop(self._due)
            lives = watched.node.parts is not None and watched.node.session == watched.session
            if not watched.ended and lives:
                self._broken("J-1", f"request {watched.number} of node {watched.node.index} is lost")
        events = self._swarm.trace.events
        self._credit += events - self._events
        self._events = events
        if self._credit > 0:
            node = self._swarm.nodes[self._audited % len(self._swarm.nodes)]
            self._audited += 1
            self._credit -= EVENTS_PER_ENTRY * self.audit(node)

    def audit(self, node: SimulatedNode) -> int:
        """Look at everything that a node keeps; returns how many entries that were."""
        self.audits += 1
        parts = node.parts
        if parts is None:
            return 1
        return 2 + self._audit_directory(node) + self._audit_sizes(node)

    def _audit_directory(self, node: SimulatedNode) -> int:
        assert node.parts is not None
        swarm, directory = self._swarm, node.parts.registry._directory
        now_us = swarm.now_us()
        entries = 0
        for entry in directory:
            entries += 1
            advert = entry.advert
            other = swarm.by_peer.get(PeerId(advert.peer_id))
            if other is None:
                self._broken("R-1", f"node {node.index} believes an advert of {advert.peer_id}, which never was")
            elif advert.sequence > other.disk.sequence and not other.disk.frozen and other.honest:
                self._broken("R-1", f"node {node.index} has an advert of node {other.index} that it never signed")
            elif entry.usable and not other.up and node.parts.ports.transport.peer_id != advert.peer_id:
                kept_us = round(swarm.scenario.node.refresh_s * 1e6) * (EVICT_AFTER_REFRESHES + 1) + FORGET_SLACK_US
                if now_us - other.down_since_us > kept_us and other.down_since_us:
                    self._broken("R-2", f"node {node.index} still sends to node {other.index}, which is long gone")
        return entries

    def _audit_sizes(self, node: SimulatedNode) -> int:
        assert node.parts is not None
        registry, router = node.parts.registry, node.parts.router
        sizes = {
            "directory": (len(registry._directory), PEERS_MAX),
            "router": (len(router._records._records), RECORDS_MAX),
        }
        for name, (size, most) in sizes.items():
            if size > most:
                self._broken("N-2", f"the {name} of node {node.index} has {size} entries, allowed are {most}")
        return 1

    # -- receipts -------------------------------------------------------------------------------------------------

    def _check_chain(self, node: SimulatedNode, half: Half) -> None:
        """C-17: an honest node's next half follows one that it signed; only after a loss of power may it leap."""
        content = half.content
        self._check_place(half)
        if not node.honest or not content.number:
            return
        chain = node.peer_id, content.incarnation
        before = self._chains.get((*chain, content.number - 1))
        if before is None and node.disk.floor == Floor(content.incarnation, content.number):
            before = next(
                (link for at, link in self._chains.items() if at[:2] == chain and link == content.previous), None
            )
        if before != content.previous:
            self._broken("C-17", f"node {node.index} signed number {content.number} after something it never signed")

    def _check_other(self, node: SimulatedNode, digest: bytes, half: Half) -> None:
        """S-1: whoever's signature is here has had it on its own disk."""
        content = half.content
        if (digest, content.signer) not in self._on_disk:
            self._broken("S-1", f"node {node.index} holds a half of {content.signer} that its disk never held")
        self._check_place(half)
        self._holders.setdefault((content.signer, content.incarnation, content.number), set()).add(node.index)

    def _check_place(self, half: Half) -> None:
        """C-15: an honest node signs one content for each place."""
        content = half.content
        link = link_digest(content)
        place = content.signer, content.incarnation, content.number
        known = self._chains.setdefault(place, link)
        node = self._swarm.by_peer[PeerId(content.signer)]
        if known != link and place in self._lost and not self._holders.get(place):
            self._chains[place] = link  # nobody has the first one, so nobody was told two things
        elif known != link and node.honest:
            where = f"number {content.number} of incarnation {content.incarnation}"
            self._broken("C-15", f"node {node.index}, which is honest, signed two contents as {where}")

    def lost(self, node: SimulatedNode, entries: Iterable[Entry]) -> None:
        """Hear what a lying disk lost, or an old backup lacks: what nobody else has either may be signed anew."""
        for entry in entries:
            for half in (entry.requester_half, entry.worker_half):
                if half is None:
                    continue
                place = half.content.signer, half.content.incarnation, half.content.number
                if half.content.signer == node.peer_id:
                    self._lost.add(place)
                else:
                    self._holders.get(place, set()).discard(node.index)

    def _count(self, node: SimulatedNode, entry: Entry, digest: bytes) -> None:
        receipt, body = entry.receipt, entry.body
        assert receipt is not None
        problem = receipt_problem(receipt)
        if problem is not None:
            self._broken("S-2", f"node {node.index} counts a receipt although {problem}")
        for task in body.tasks:
            if self._paid.setdefault(task, digest) != digest:
                self._broken("C-4", f"node {node.index} counts a second receipt for task {task.hex()}")
        share = body.share_microcredits
        self.moved_microcredits += share
        for total, peer in ((self.earned, body.worker), (self.spent, body.requester)):
            index = self._swarm.by_peer[PeerId(peer)].index
            total[index] = total.get(index, 0) + share

    def _broken(self, invariant: str, text: str) -> None:
        self.violations.append(Violation(invariant, text, self._swarm.clock.jumps, self._swarm.now_us()))
