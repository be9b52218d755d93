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

_log = logging.getLogger(__name__)


class Shows:
    """Each peer is asked once in a while, and only so many at a time."""

    def __init__(self, parts: SpreadParts) -> None:
        self._parts = parts
        self._asked_us: OrderedDict[PeerId, int] = OrderedDict()
        self._running = 0

    def due(self, peer: PeerId) -> bool:
        """Tell whether asking the peer now could bring anything."""
        settings = self._parts.settings
        asked_us = self._asked_us.get(peer)
        if not self._parts.near.workers or self._running >= settings.shows_at_once:
            return False
        return asked_us is None or self._parts.clock.monotonic_us() - asked_us >= settings.show_period_s * 1e6

    async def ask(self, peer: PeerId) -> None:
        """Ask, and store what comes and holds; never raises for what the peer does."""
        if not self.due(peer):
            return
        parts = self._parts
        self._asked_us[peer] = parts.clock.monotonic_us()
        self._asked_us.move_to_end(peer)
        if len(self._asked_us) > ASKED_MAX:
            self._asked_us.popitem(last=False)
        self._running += 1
        try:
            with trio.move_on_after(parts.settings.show_timeout_s):
                request = encode(ShowRequest(short_ids(parts.near.workers)))
                answer = await parts.transport.call(peer, SHOW_METHOD, request, timeout_s=parts.settings.show_timeout_s)
                await parts.intake.take(decode(Gossip, answer).receipts, sender=peer, asked=True)
        except SwarmError as error:
            _log.debug("%s shows nothing: %s", peer, error)
        finally:
            self._running -= 1
