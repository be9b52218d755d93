"""Runs a handler for a caller in the same process, with the errors that a wire would carry; nothing is sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import trio

from swarmharness.errors import DeadlineError, RefusedError, SwarmError, error_from_kind, leaf
from swarmharness.identity import PeerId
from swarmharness.network.ports import Handler, Request
from swarmharness.network.serving import told_to_peer

_LOG = logging.getLogger(__name__)


async def call_own_handler(
    peer_id: PeerId, handlers: Mapping[str, Handler], method: str, payload: bytes, timeout_s: float
) -> bytes:
    """Answer a call to the own id."""
    with trio.move_on_after(timeout_s):
        return await serve_call(peer_id, peer_id, handlers, method, payload, timeout_s)
    raise DeadlineError(f"{method}: no answer within {timeout_s:g} s")


async def serve_call(
    peer_id: PeerId, caller: PeerId, handlers: Mapping[str, Handler], method: str, payload: bytes, timeout_s: float
) -> bytes:
    """Return the answer of `peer_id`'s handler to `caller`; a SwarmError keeps its kind and its words for peers."""
    handler = handlers.get(method)
    if handler is None:
        raise RefusedError(f"the peer does not serve {method!r}: it may run another version")
    try:
        return await handler(Request(caller, method, payload, timeout_s))
    except Exception as error:
        cause = leaf(error)
        if isinstance(cause, SwarmError):
            raise error_from_kind(
                cause.kind, str(cause) if peer_id == caller else told_to_peer(cause, method)
            ) from None
        _LOG.error("the handler of %r at %s failed", method, peer_id, exc_info=error)
        raise SwarmError(f"the peer failed internally in {method!r}: its log says why") from None
