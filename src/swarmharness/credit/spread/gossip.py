"""Sends new receipts to recent partners of their parties, a few milliseconds' worth at a time; it checks nothing.

What is lost on the way, or does not fit into a queue, is found by reconciliation: nothing here is tried twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, zip_longest

import trio

from swarmharness.credit.receipt import Receipt, body_digest
from swarmharness.credit.spread.messages import BATCH_MAX, GOSSIP_METHOD, Gossip
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Transport
from swarmharness.ports import Randomness
from swarmharness.protocol.codec import encode

SENDS_AT_ONCE = 16


class Gossiper:
    """The queues towards the peers that a new receipt concerns (C-21)."""

    def __init__(
        self, transport: Transport, near: Neighbourhood, randomness: Randomness, settings: SpreadSettings
    ) -> None:
        self._transport, self._near, self._randomness, self._settings = transport, near, randomness, settings
        self._queues: dict[PeerId, dict[bytes, Receipt]] = {}
        self._sending: set[PeerId] = set()
        self._slots = trio.CapacityLimiter(SENDS_AT_ONCE)
        self._wake = trio.Event()
        self._latest: tuple[tuple[bytes, ...], bytes] = ((), b"")
        self.lost = 0
        """Receipts that a peer did not get: no room in its queue, or it was gone."""

    def publish(self, receipt: Receipt, *, came_from: PeerId | None = None) -> None:
        """Send a verified receipt that is stored here, to many peers if this node is a party, else to a few."""
        targets = self._targets(receipt, came_from)
        if not targets:
            return
        digest = body_digest(receipt.body)
        for peer in targets:
            queue = self._queues.setdefault(peer, {})
            if len(queue) < self._settings.queue_receipts_max:
                queue[digest] = receipt
            else:
                self.lost += 1
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self._wake.wait()
                await trio.sleep(self._settings.gossip_batch_s)
                self._wake = trio.Event()
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
                        await self._transport.call(
                            peer, GOSSIP_METHOD, message, timeout_s=self._settings.call_timeout_s
                        )
                    except SwarmError:
                        self.lost += len(batch) + len(self._queues.pop(peer, ()))
        finally:
            self._queues.pop(peer, None)
            self._sending.discard(peer)

    def _encoded(self, batch: dict[bytes, Receipt]) -> bytes:
        """Return the message; usually many peers get the same one after the other."""
        digests = tuple(batch)
        if digests != self._latest[0]:
            self._latest = digests, encode(Gossip(tuple(batch.values())))
        return self._latest[1]

    def _targets(self, receipt: Receipt, came_from: PeerId | None) -> list[PeerId]:
        body = receipt.body
        connected = set(self._transport.connected())
        left_out = {self._near.me, body.requester, body.worker, came_from}
        near = [peer for peer in self._candidates(body.requester, body.worker) if peer not in left_out]
        reachable = [PeerId(peer) for peer in near if peer in connected]
        if self._near.me in (body.requester, body.worker):
            return reachable[: self._settings.gossip_partners_max]
        chosen = []
        for _ in range(min(self._settings.forwards_max, len(reachable))):
            chosen.append(reachable.pop(self._randomness.below(len(reachable))))
        return chosen

    def _candidates(self, requester: str, worker: str) -> list[str]:
        """Return the recent partners of both, the latest first."""
        most = self._settings.gossip_partners_max
        both: Iterator[str | None] = chain.from_iterable(
            zip_longest(
                islice(self._near.recent_partners(requester), most), islice(self._near.recent_partners(worker), most)
            )
        )
        return list(dict.fromkeys(peer for peer in both if peer is not None))
