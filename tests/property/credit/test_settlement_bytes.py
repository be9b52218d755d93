"""Whatever bytes arrive as a settlement: a receipt of exactly the expected task, or an error and no change."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.messages import SETTLE_METHOD, SettleRequest
from swarmharness.credit.receipt import Half, body_digest, half_problem
from swarmharness.credit.service import CreditService
from swarmharness.errors import ProtocolError, SwarmError
from swarmharness.network.ports import Request
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import (
    ALICE,
    BOB,
    HandClock,
    Wire,
    WireTransport,
    ZeroRandomness,
    body,
    half,
    terms,
)

VALID = encode(SettleRequest(body(), half(body(), ALICE)))

mutations = st.lists(
    st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.sampled_from(["set", "cut", "insert"])),
    max_size=4,
)


def mutated(changes: list[tuple[int, int, str]]) -> bytes:
    data = bytearray(VALID)
    for position, value, kind in changes:
        if kind == "cut":
            del data[position : position + 1]
        elif kind == "insert":
            data.insert(position, value)
        elif position < len(data):
            data[position] = value
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(st.one_of(mutations.map(mutated), st.binary(max_size=400)))
def test_only_the_exact_statement_is_signed(data: bytes) -> None:
    async def main() -> None:
        store, transport = MemoryReceiptStore(), WireTransport(Wire(), BOB.peer_id)
        service = CreditService(store, BOB, transport, HandClock(), ZeroRandomness())
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            service.expect(terms())
            request = Request(ALICE.peer_id, SETTLE_METHOD, data, 1.0)
            try:
                answer = await transport.handlers[SETTLE_METHOD](request)
            except SwarmError as error:
                assert await store.head(BOB.peer_id) is None
                # What is no message at all is counted by the transport, which this handler does without.
                counted = not isinstance(error, ProtocolError)
                assert sum(service.refused.values()) == counted
                assert service.owed(ALICE.peer_id) == (1, 1_001)
            else:
                assert decode(SettleRequest, data).body == body()
                assert half_problem(decode(Half, answer), body_digest(body()), BOB.peer_id) is None
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_the_valid_bytes_are_valid() -> None:
    with pytest.raises(SwarmError):
        decode(SettleRequest, VALID[:-1])
    assert decode(SettleRequest, VALID).body == body()
