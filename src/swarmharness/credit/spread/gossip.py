"""Sends new receipts to those who follow their parties, all that gathered in a while at once; it checks nothing.

What is lost on the way, or does not fit into a queue, is found by reconciliation: nothing here is tried twice.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice

import trio

from swarmharness.credit.receipt import Receipt, body_digest
from swarmharness.credit.spread.messages import BATCH_MAX, GOSSIP_METHOD, Gossip, GossipAnswer
from swarmharness.credit.spread.neighbourhood import short_id, split_ids
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Transport
from swarmharness.network.turns import Turns
from swarmharness.ports import Randomness
from swarmharness.protocol.codec import decode, encode

GATHERED_MOST = 1.5
"""Receipts wait for company for half to one and a half times `gossip_batch_s`."""
SENDS_AT_ONCE = 16
FOLLOWERS_MAX = 256
INTERESTS_KEPT_MAX = 64
"""Of one peer: it follows about as many as this node does, and 8,192 for each of 256 peers took a gigabyte."""


class Gossiper:
    """The queues towards the peers that follow a party of a new receipt (C-21)."""

    def __init__(self, transport: Transport, randomness: Randomness, settings: SpreadSettings) -> None:
        self._transport, self._randomness, self._settings = transport, randomness, settings
        self._queues: dict[PeerId, dict[bytes, Receipt]] = {}
        self._interests: OrderedDict[PeerId, frozenset[bytes]] = OrderedDict()
        self._followers: dict[bytes, dict[PeerId, None]] = {}
        """The same, by whom they follow: a set in the order of arrival."""
        self._sending: set[PeerId] = set()
        self._slots = Turns(SENDS_AT_ONCE)
        self._pause, self._due_s = trio.CancelScope(), math.inf
        self._latest: tuple[tuple[bytes, ...], bytes] = ((), b"")
        self.lost = 0
        """Receipts that a peer did not get: no room in its queue, or it was gone."""

    @property
    def kept(self) -> int:
        """How many interests of all peers are remembered."""
        return sum(map(len, self._interests.values()))

    def follows(self, short: bytes) -> frozenset[PeerId]:
        """Return who keeps the receipts of the peer with this short id."""
        return frozenset(self._followers.get(short, ()))

    def heard(self, peer: PeerId, interests: frozenset[bytes]) -> None:
        """Hear whose receipts a peer keeps, by short ids; of many, this node's own and some others count."""
        if len(interests) > INTERESTS_KEPT_MAX:
            own = interests & {short_id(self._transport.peer_id)}
            interests = own | frozenset(sorted(interests)[: INTERESTS_KEPT_MAX - len(own)])
        if self._interests.get(peer) != interests:
            self.forget(peer)
            self._interests[peer] = interests
            for short in interests:
                self._followers.setdefault(short, {})[peer] = None
        self._interests.move_to_end(peer)
        if len(self._interests) > FOLLOWERS_MAX:
            self.forget(next(iter(self._interests)))

    def forget(self, peer: PeerId) -> None:
        """A peer is gone; it says anew what it keeps when it is back."""
        for short in self._interests.pop(peer, ()):
            del self._followers[short][peer]
            if not self._followers[short]:
                del self._followers[short]

    def publish(self, receipt: Receipt) -> None:
        """Send a receipt of this node, verified and stored, to those who follow a party of it (C-21)."""
        body, nobody = receipt.body, dict[PeerId, None]()
        requester, worker, digest = body.requester, body.worker, body_digest(body)
        followers = self._followers
        for peer in followers.get(short_id(requester), nobody) | followers.get(short_id(worker), nobody):
            if peer in (requester, worker):
                continue
            queue = self._queues.setdefault(peer, {})
            if len(queue) < self._settings.queue_receipts_max:
                queue[digest] = receipt
            else:
                self.lost += 1
            if self._due_s == math.inf:
                wait_us = round(self._settings.gossip_batch_s * 1e6)
                self._due_s = trio.current_time() + (wait_us // 2 + self._randomness.below(wait_us + 1)) / 1e6
                self._pause.deadline = self._due_s

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                with trio.CancelScope(deadline=self._due_s) as self._pause:
                    await trio.sleep_forever()
                self._due_s = math.inf
                for peer in list(self._queues):
                    if peer not in self._sending:
                        self._sending.add(peer)
                        nursery.start_soon(self._send, peer)

    async def _send(self, peer: PeerId) -> None:
        try:
            while self._queues.get(peer):
                batch = dict(islice(self._queues[peer].items(), BATCH_MAX))
                for digest in batch:
                    del self._queues[peer][digest]
                async with self._slots:
                    message = self._encoded(batch)
                    try:
                        answer = await self._transport.call(
                            peer, GOSSIP_METHOD, message, timeout_s=self._settings.call_timeout_s
                        )
                        self.heard(peer, split_ids(decode(GossipAnswer, answer).interests))
                    except SwarmError:
                        self.lost += len(batch) + len(self._queues.pop(peer, ()))
                        self.forget(peer)
        finally:
            self._queues.pop(peer, None)
            self._sending.discard(peer)

    def _encoded(self, batch: dict[bytes, Receipt]) -> bytes:
        """Return the message; usually many peers get the same one after the other."""
        digests = tuple(batch)
        if digests != self._latest[0]:
            self._latest = digests, encode(Gossip(tuple(batch.values())))
        return self._latest[1]
