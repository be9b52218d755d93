"""Makes the clocks, identities, bodies, halves and transports that the tests of credit share."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache
from typing import Any

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import Place, opening, place_after
from swarmharness.credit.receipt import EPOCH_US, Half, Receipt, ReceiptBody, body_digest, sign_half
from swarmharness.credit.terms import TaskTerms, settlement_body
from swarmharness.errors import PeerLostError
from swarmharness.identity import Identity, PeerId
from swarmharness.network.ports import Handler, PeerAddress, PeerEvent, Request

NOON_US = 495_612 * EPOCH_US
"""An hour's beginning; the tests' clocks start there."""


@cache
def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


ALICE, BOB, CAROL = identity(1), identity(2), identity(3)


class HandClock:
    """A clock that stands until a test moves it, or sets it: time passes by `now_us`, `ahead_us` is how wrong it is."""

    def __init__(self, now_us: int = NOON_US) -> None:
        self.now_us = now_us
        self.ahead_us = 0

    def unix_us(self) -> int:
        return self.now_us + self.ahead_us

    def monotonic_us(self) -> int:
        return self.now_us


class ZeroRandomness:
    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)

    def below(self, limit: int) -> int:
        return 0


def terms(number: int = 1, requester: Identity = ALICE, worker: Identity = BOB, **changes: Any) -> TaskTerms:
    made = TaskTerms(
        task=number.to_bytes(16, "big"),
        requester=requester.peer_id,
        worker=worker.peer_id,
        epoch=NOON_US // EPOCH_US,
        share_microcredits=1_000 + number,
        model_digest=hashlib.sha256(b"model").digest(),
        input_digest=hashlib.sha256(b"input %d" % number).digest(),
        output_digest=hashlib.sha256(b"output %d" % number).digest(),
        skill="text-embedding",
        items=2,
        service_us=500,
    )
    return replace(made, **changes)


def body(number: int = 1, requester: Identity = ALICE, worker: Identity = BOB, **changes: Any) -> ReceiptBody:
    return replace(settlement_body([terms(number, requester, worker)]), **changes)


def half(of: ReceiptBody, signer: Identity, after: Half | None = None, *, place: Place | None = None) -> Half:
    where = place or (place_after(after) if after else opening(0, NOON_US))
    return sign_half(
        signer, body_digest(of), incarnation=where.incarnation, number=where.number, previous=where.previous
    )


def receipt(number: int = 1, requester: Identity = ALICE, worker: Identity = BOB, **changes: Any) -> Receipt:
    made = body(number, requester, worker, **changes)
    return Receipt(made, half(made, requester), half(made, worker))


def entry(of: Receipt, *, requester: bool = True, worker: bool = True, stored_us: int = NOON_US) -> Entry:
    return Entry(of.body, of.requester_half if requester else None, of.worker_half if worker else None, stored_us)


class Wire:
    """Joins `WireTransport`s in one process; `before` may fail, delay or count a call before its handler runs."""

    def __init__(self) -> None:
        self.ends: dict[PeerId, WireTransport] = {}
        self.before: Callable[[PeerId], Awaitable[None]] | None = None
        self.after: Callable[[PeerId], Awaitable[None]] | None = None


class WireTransport:
    """A `Transport` whose calls are function calls."""

    def __init__(self, wire: Wire, peer_id: PeerId) -> None:
        self.wire, self.peer_id = wire, peer_id
        self.addresses: tuple[str, ...] = ()
        self.handlers: dict[str, Handler] = {}
        self.listeners: list[Callable[[PeerEvent], None]] = []
        wire.ends[peer_id] = self

    def handle(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    def add_addresses(self, peer: PeerAddress) -> None:
        pass

    async def connect(self, peer_id: PeerId, *, timeout_s: float) -> None:
        pass

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        if self.wire.before is not None:
            await self.wire.before(peer_id)
        if peer_id not in self.wire.ends:
            raise PeerLostError(f"{peer_id} is not there")
        handler = self.wire.ends[peer_id].handlers[method]
        answer = await handler(Request(self.peer_id, method, payload, timeout_s))
        if self.wire.after is not None:
            await self.wire.after(peer_id)
        return answer

    def connected(self) -> tuple[PeerId, ...]:
        return ()

    def permits(self, peer_id: PeerId) -> bool:
        return True

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        return None

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        self.listeners.append(listener)

    @property
    def listening(self) -> tuple[str, ...]:
        return self.addresses

    def watch_addresses(self, listener: Callable[[], None]) -> None:
        return
