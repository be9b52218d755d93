"""Turns the credit line that an invite promises into a real one, at the inviter; it joins nobody by itself.

Whoever joined with an invite shows it to the inviter, each time that it starts: the inviter grants the line once for
each invite, to the first node that shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import trio

from swarmharness.errors import ConfigurationError, InputError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerEvent, Request, Transport
from swarmharness.ports import Clock
from swarmharness.protocol.codec import Count, Size, decode, encode
from swarmharness.protocol.method import Method
from swarmharness.registry.invite import INVITE_CHARS_MAX, parse_invite, parse_join_target

"""Its request is a RedeemRequest, its answer a RedeemAnswer."""
REDEEM_TIMEOUT_S = 3.0
_PENDING_MAX = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RedeemRequest:
    """Shows an invite to the node that made it."""

    invite: Annotated[str, Size(INVITE_CHARS_MAX, 1)]


@dataclass(frozen=True, slots=True)
class RedeemAnswer:
    """The line, in micro-credits, that the invite gave."""

    line_microcredits: Count


REDEEM_METHOD = Method("credit.redeem", RedeemRequest, RedeemAnswer)

Grant = Callable[[PeerId, bytes, int], Awaitable[None]]
"""Gives a peer the line of the invite with this token; RefusedError if another peer has it."""


class Redemption:
    """Both sides of `credit.redeem`."""

    def __init__(self, transport: Transport, clock: Clock, *, grant: Grant) -> None:
        self._transport, self._clock, self._grant = transport, clock, grant
        self._pending: dict[str, PeerId] = {}
        self._wake = trio.Event()
        transport.handle(REDEEM_METHOD, self._handle)
        transport.watch(self._on_peer)

    async def redeem(self, targets: Iterable[str]) -> None:
        """Show those targets that are invites with a line to their inviters, as soon as these can be reached.

        Waits for those that are connected, at most `REDEEM_TIMEOUT_S`; the rest is up to `run`.
        """
        now_unix_s = self._clock.unix_us() // 1_000_000
        for text in targets:
            target = parse_join_target(text, now_unix_s=now_unix_s)
            new = target.invite is not None and target.invite.credit_line_microcredits > 0
            if new and target.peer.peer_id != self._transport.peer_id and len(self._pending) < _PENDING_MAX:
                self._pending[text.strip()] = target.peer.peer_id
        await self._attempt()

    async def run(self) -> None:
        """Show invites to inviters that connect later, for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._attempt()

    async def _attempt(self) -> None:
        connected = set(self._transport.connected())
        async with trio.open_nursery() as nursery:
            for text, inviter in list(self._pending.items()):
                if inviter in connected:
                    nursery.start_soon(self._show, text, inviter)

    async def _show(self, text: str, inviter: PeerId) -> None:
        try:
            request = encode(RedeemRequest(text))
            answer = await self._transport.call(inviter, REDEEM_METHOD, request, timeout_s=REDEEM_TIMEOUT_S)
            line = decode(RedeemAnswer, answer).line_microcredits
            _log.info("%s gave this node a line of %d micro-credits", inviter, line)
        except (RefusedError, InputError) as error:
            _log.warning("the invite of %s gives no credit: %s", inviter, error)
        except SwarmError as error:
            _log.info("the invite of %s is shown again when it connects: %s", inviter, error)
            return
        self._pending.pop(text, None)

    async def _handle(self, request: Request) -> bytes:
        text = decode(RedeemRequest, request.payload).invite
        try:
            invite = parse_invite(text)
        except ConfigurationError as error:
            raise InputError(str(error)).for_peers() from None
        if invite.peer_id != self._transport.peer_id:
            raise InputError("this invite was made by another node; show it to that one").for_peers()
        if 0 < invite.expires_unix_s < self._clock.unix_us() // 1_000_000:
            raise RefusedError("this invite has expired; ask for a new one")
        await self._grant(request.peer_id, invite.token, invite.credit_line_microcredits)
        return encode(RedeemAnswer(invite.credit_line_microcredits))

    def _on_peer(self, event: PeerEvent) -> None:
        if event.connected and event.peer_id in self._pending.values():
            self._wake.set()
