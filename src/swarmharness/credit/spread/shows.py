"""Asks requesters for receipts of their work for those who worked for this node; it decides about nobody (C-21)."""

from __future__ import annotations

import logging
from collections import OrderedDict

import trio

from swarmharness.credit.spread.messages import SHOW_METHOD, Gossip, ShowRequest
from swarmharness.credit.spread.neighbourhood import short_ids
from swarmharness.credit.spread.session import SpreadParts
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import decode, encode

ASKED_MAX = 1_024
_NEVER = (0, 0)

_log = logging.getLogger(__name__)


class Shows:
    """Each peer is asked once in a while, and only so many at a time."""

    def __init__(self, parts: SpreadParts) -> None:
        self._parts = parts
        self._asked: OrderedDict[PeerId, tuple[int, int]] = OrderedDict()
        """When each may be asked again, and how long that was after it was asked; the latest asked last."""
        self._running = 0

    def due(self, peer: PeerId) -> bool:
        """Tell whether asking the peer now could bring anything."""
        parts = self._parts
        if not parts.near.workers or self._running >= parts.settings.shows_at_once:
            return False
        again_us, _ = self._asked.get(peer, _NEVER)
        return again_us <= parts.clock.monotonic_us()

    async def ask(self, peer: PeerId) -> None:
        """Ask, and store what comes and holds; never raises for what the peer does."""
        if not self.due(peer):
            return
        parts = self._parts
        _, waited_us = self._asked.get(peer, _NEVER)
        self._wait(peer, round(parts.settings.show_period_s * 1e6))
        self._running += 1
        try:
            with trio.move_on_after(parts.settings.show_timeout_s):
                request = encode(ShowRequest(short_ids(parts.near.workers)))
                answer = await parts.transport.call(peer, SHOW_METHOD, request, timeout_s=parts.settings.show_timeout_s)
                new = await parts.intake.take(decode(Gossip, answer).receipts, sender=peer, asked=True)
                if not new and waited_us:  # it has earned nothing that counts here: ask it ever less often
                    self._wait(peer, min(2 * waited_us, round(parts.settings.show_period_most_s * 1e6)))
        except SwarmError as error:
            _log.debug("%s shows nothing: %s", peer, error)
        finally:
            self._running -= 1

    def _wait(self, peer: PeerId, wait_us: int) -> None:
        self._asked[peer] = self._parts.clock.monotonic_us() + wait_us, wait_us
        self._asked.move_to_end(peer)
        if len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
