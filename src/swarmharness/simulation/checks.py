"""Judges a simulated swarm after every step, by the numbered invariants; it changes nothing and waits for nothing.

What an event can break is checked with the event, at a constant cost. What only a look at a whole node shows is checked
node by node: an audit of a node with n entries is paid for by n events, so that the cost of an event stays flat.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import PurePath
from typing import TYPE_CHECKING

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import Floor
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import Half, HalfContent, Receipt, body_digest, link_digest, receipt_problem
from swarmharness.credit.service import CLOSING_S
from swarmharness.errors import leaf
from swarmharness.identity import PeerId
from swarmharness.registry.directory import EVICT_AFTER_REFRESHES
from swarmharness.simulation.audits import Problem, bounded, counted_again, held_again, zero_sum
from swarmharness.simulation.convergence import counts_what_was_paid, knows_who_serves
from swarmharness.simulation.disk import replay
from swarmharness.simulation.trace import Event

if TYPE_CHECKING:
    from swarmharness.node.parts import NodeParts
    from swarmharness.simulation.node import SimulatedNode
    from swarmharness.simulation.swarm import Swarm

LAST_AUDITS = 64
EVENTS_PER_ENTRY = 4
"""An audit looks at one entry for so many events."""
FORGET_SLACK_US = 30_000_000
GRACE_S = 5.0


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
        self._chains: dict[tuple[str, int, int], HalfContent] = {}
        """What each signer signed at each place of its chains, and had on its disk."""
        self._lost: set[tuple[str, int, int]] = set()
        """Places that their signer's lying disk or old backup knows no more."""
        self._forked: set[HalfContent] = set()
        """What else signers had on their disks, at places that were taken."""
        self._judged: dict[bytes, tuple[Half, Half]] = {}
        """The halves of receipts that were looked at, by digest: copies of them are the same."""
        self._paid: dict[bytes, bytes] = {}
        self._counted: dict[bytes, int] = {}
        """When a receipt was on a disk first, by digest."""
        self.moved_microcredits = 0
        self.earned: dict[int, int] = {}
        """Micro-credits by the index of a node, in receipts that count."""
        self.spent: dict[int, int] = {}
        self._due: list[tuple[int, int, Watched]] = []
        self._audited = 0
        self._next_audit = 0
        """After so many events."""
        self.audits = 0
        self.faults = 0
        """How many last."""
        self.quiet_since_us = 0
        """When the last one began or ended."""
        self._replaying: list[SimulatedNode] = []

    # -- with each event ------------------------------------------------------------------------------------------

    def handled(self, node: int, method: str, deadline_s: float) -> None:
        """N-3: no handler starts after its caller's deadline."""
        if trio.current_time() > deadline_s:
            self._broken("N-3", f"node {node} handles {method} after its deadline")

    def started(self, node: SimulatedNode) -> None:
        """Hear that a session begins: a restart is a replay (S-3), which is looked at when it is done."""
        self._replaying.append(node)

    def ended_session(self, node: SimulatedNode, parts: NodeParts, *, took_s: float) -> None:
        """S-3: hear that a session ended; what starts from its disk starts with what it had.

        A stop in order that took less than `CLOSING_S` had the time to write everything down.
        """
        books = parts.credit.books
        if books.ready.is_set():
            store = self._replay(node)
            self._found(node, counted_again(books, store, ended=True))
            if not node.disk.frozen:
                self._found(node, held_again(books, store, exactly=took_s < CLOSING_S))

    def fault(self, change: int) -> None:
        """Hear that a fault begins (1) or ends (-1)."""
        self.faults += change
        self.quiet_since_us = self._swarm.now_us()

    def committed(self, node: SimulatedNode, entries: Sequence[Entry]) -> None:
        """S-1, S-2, C-4: hear what a node's disk now holds."""
        moved, me = 0, node.peer_id
        for entry in entries:
            body = entry.body
            digest, halves = body_digest(body), (entry.requester_half, entry.worker_half)
            if self._judged.get(digest) == halves and me != body.requester and me != body.worker:
                continue
            for half in halves:
                if half is not None and half.content.signer == me:
                    self._check_chain(node, half)
                elif half is not None:
                    self._check_other(node, half)
            if halves[0] is not None and halves[1] is not None:
                self._judged[digest] = halves[0], halves[1]
                if digest not in self._counted:
                    self._counted[digest] = self._swarm.now_us()
                    moved += body.share_microcredits
                    self._count(node, Receipt(body, halves[0], halves[1]), digest)
        self._swarm.trace.note(Event.RECEIPT, self._swarm.now_us(), node.index, len(entries), moved)

    def watch(self, watched: Watched, deadline_s: float) -> None:
        """J-1: this request must end by its deadline, and a little."""
        heappush(self._due, (self._swarm.now_us() + round((deadline_s + GRACE_S) * 1e6), watched.number, watched))

    def ended(self, watched: Watched, indices: Sequence[int], unnamed: int) -> None:
        """J-1: a request ended with results for these indices, some of which have neither output nor error."""
        watched.ended = True
        if list(indices) != list(range(watched.items)):
            self._broken(
                "J-1", f"request {watched.number} of {watched.items} items got results for {list(indices)[:9]}"
            )
        if unnamed:
            self._broken("J-1", f"request {watched.number}: {unnamed} items have neither an output nor an error")

    def crashed(self, error: BaseException) -> None:
        """X-1: hear that a service ended with an error that nobody expected, which ends the simulation."""
        error = leaf(error)
        last = traceback.extract_tb(error.__traceback__)[-1]
        self._broken("X-1", f"{type(error).__name__}: {error}, in {last.name} of {PurePath(last.filename).name}")

    # -- after each step ------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Everything at one instant has happened."""
        swarm = self._swarm
        while self._due and self._due[0][0] <= swarm.clock.now_us:
            _, _, watched = heappop(self._due)
            lives = watched.node.parts is not None and watched.node.session == watched.session
            if not watched.ended and lives:
                self._broken("J-1", f"request {watched.number} of node {watched.node.index} is lost")
        if self._replaying:
            self._look_at_replays()
        if swarm.trace.events > self._next_audit:
            node = swarm.nodes[self._audited % len(swarm.nodes)]
            self._audited += 1
            self._next_audit += EVENTS_PER_ENTRY * self.audit(node)

    def last(self) -> None:
        """Look at nodes once more at the end, when most have been left in peace, but not at more than a few."""
        nodes = self._swarm.nodes
        for node in nodes[:: max(1, len(nodes) // LAST_AUDITS)]:
            self.audit(node)

    def audit(self, node: SimulatedNode) -> int:
        """Look at everything that a node keeps; returns how many entries that were."""
        self.audits += 1
        parts = node.parts
        if parts is None:
            return 1
        self._found(node, bounded(parts))
        cost = 2 + self._audit_directory(node)
        if parts.credit.books.ready.is_set():
            store = parts.ports.receipts
            assert isinstance(store, MemoryReceiptStore)
            self._found(node, zero_sum(parts.credit.books))
            self._found(node, counted_again(parts.credit.books, store))
            if not node.disk.promising:
                self._found(node, held_again(parts.credit.books, store))
            self._found(node, knows_who_serves(self._swarm, node))
            self._found(node, counts_what_was_paid(self._swarm, node))
            cost += 3 * len(parts.credit.books.ledger)
        return cost

    def counted_us(self, digest: bytes) -> int:
        """Return when a receipt was on a disk first."""
        return self._counted[digest]

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

    # -- receipts -------------------------------------------------------------------------------------------------

    def _check_chain(self, node: SimulatedNode, half: Half) -> None:
        """C-17: an honest node's next half follows one that it signed; only after a loss of power may it leap.

        That is judged once, when a disk has the half first: a copy that comes back later, after another leap, is known.
        """
        content = half.content
        if not self._check_place(half) or not node.honest or not content.number:
            return
        chain = node.peer_id, content.incarnation
        before = self._chains.get((*chain, content.number - 1))
        if before is None and node.disk.floor == Floor(content.incarnation, content.number):
            of_it = (known for at, known in self._chains.items() if at[:2] == chain)
            before = next((known for known in of_it if link_digest(known) == content.previous), None)
        if before is None or link_digest(before) != content.previous:
            self._broken("C-17", f"node {node.index} signed number {content.number} after something it never signed")

    def _check_other(self, node: SimulatedNode, half: Half) -> None:
        """S-1: whoever's signature is here has had it on its own disk."""
        content = half.content
        known = self._chains.get((content.signer, content.incarnation, content.number))
        if known is not content and known != content:
            if content not in self._forked:
                self._broken("S-1", f"node {node.index} holds a half of {content.signer} that its disk never held")
            self._check_place(half)

    def _check_place(self, half: Half) -> bool:
        """C-15: an honest node signs one content for each place; tells whether this one is new there."""
        content = half.content
        place = content.signer, content.incarnation, content.number
        known = self._chains.get(place)
        if known is None:
            self._chains[place] = content
            return True
        if known is content or known == content:
            return False
        self._forked.add(content)
        node = self._swarm.by_peer[PeerId(content.signer)]
        if place in self._lost and not self._is_held(known):
            self._chains[place] = content  # nobody has the first one, so nobody was told two things
            return True
        if node.honest:
            where = f"number {content.number} of incarnation {content.incarnation}"
            self._broken("C-15", f"node {node.index}, which is honest, signed two contents as {where}")
        return True

    def _is_held(self, content: HalfContent) -> bool:
        """Tell whether any disk has a half with this content; it looks at all of them."""
        return any(
            half is not None and half.content == content
            for node in self._swarm.nodes
            for write in node.disk.log
            for entry in write.entries
            for half in (entry.requester_half, entry.worker_half)
        )

    def lost(self, node: SimulatedNode, entries: Iterable[Entry]) -> None:
        """Hear what a lying disk lost, or an old backup lacks: what nobody else has either may be signed anew."""
        for entry in entries:
            self._judged.pop(body_digest(entry.body), None)
            for half in (entry.requester_half, entry.worker_half):
                if half is not None and half.content.signer == node.peer_id:
                    self._lost.add((node.peer_id, half.content.incarnation, half.content.number))

    def _count(self, node: SimulatedNode, receipt: Receipt, digest: bytes) -> None:
        body = receipt.body
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
        self._swarm.work.paid(self._swarm.by_peer[PeerId(body.worker)].index, share)

    def _found(self, node: SimulatedNode, problems: Iterable[Problem]) -> None:
        for invariant, text in problems:
            self._broken(invariant, f"node {node.index}: {text}")

    def _broken(self, invariant: str, text: str) -> None:
        self.violations.append(Violation(invariant, text, self._swarm.clock.jumps, self._swarm.now_us()))

    def _look_at_replays(self) -> None:
        """S-3: compare those that have started, and read all of their disk, with their disk."""
        for node in self._replaying:
            if node.parts is not None and node.parts.credit.books.ready.is_set():
                store = self._replay(node)
                self._found(node, counted_again(node.parts.credit.books, store))
                self._found(node, held_again(node.parts.credit.books, store))
        self._replaying = [
            node for node in self._replaying if node.parts is not None and not node.parts.credit.books.ready.is_set()
        ]

    def _replay(self, node: SimulatedNode) -> MemoryReceiptStore:
        """Return what is on a node's disk, at once; audits wait until events have paid for it."""
        store = MemoryReceiptStore()
        self._next_audit += EVENTS_PER_ENTRY * len(node.disk.log)
        with suppress(StopIteration):
            replay(node.disk.log, store).send(None)
            raise AssertionError("a replay waits for nothing")
        return store
