"""Runs a handler for a caller in the same process, with the errors that a wire would carry; nothing is sent."""

from __future__ import annotations

import logging

import trio

from swarmharness.errors import DeadlineError, ProtocolError, SwarmError, error_from_kind, leaf
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.handlers import Handlers, Refuse
from swarmharness.network.ports import Request
from swarmharness.network.serving import MALFORMED, told_to_peer

_LOG = logging.getLogger(__name__)


async def call_own_handler(peer_id: PeerId, handlers: Handlers, method: str, payload: bytes, timeout_s: float) -> bytes:
    """Answer a call to the own id."""
    with trio.move_on_after(timeout_s):
        request = Request(peer_id, method, payload, timeout_s)
        return await serve_call(peer_id, handlers, request, lambda reason: None)
    raise DeadlineError(f"{method}: no answer within {timeout_s:g} s")


async def serve_call(peer_id: PeerId, handlers: Handlers, request: Request, refuse: Refuse) -> bytes:
    """Return the answer of `peer_id`'s handler to a peer; a SwarmError keeps its kind and its words for peers."""
    try:
        handler = handlers.take(request.method, len(request.payload), refuse)
        return await handler(request)
    except Exception as error:
        cause = leaf(error)
        if isinstance(cause, ProtocolError):
            refuse(MALFORMED)
        if isinstance(cause, SwarmError):
            raise error_from_kind(
                cause.kind, str(cause) if peer_id == request.peer_id else told_to_peer(cause, request.method)
            ) from None
        _LOG.error("the handler of %r at %s failed", request.method, peer_id, exc_info=error, extra=by_peers())
        raise SwarmError(f"the peer failed internally in {request.method!r}: its log says why") from None
