"""Attacks by what is well signed and of no use: receipts, adverts and comparisons in mass.

The messages are built with our own classes, since a signature covers their canonical bytes; the channel is raw.
"""

from __future__ import annotations

import os
import time
from itertools import count

from swarmharness.credit.receipt import Receipt as SignedReceipt
from swarmharness.credit.receipt import ReceiptBody, body_digest, epoch_of, sign_half
from swarmharness.credit.spread.messages import (
    GOSSIP_METHOD,
    INTERESTS_MAX,
    INTERVALS_MAX,
    OPEN_METHOD,
    RANGES_METHOD,
    SHORT_BYTES,
    Gossip,
    Opening,
    RangeBounds,
    RangesRequest,
)
from swarmharness.identity import Identity
from swarmharness.protocol.codec import encode
from swarmharness.registry.advert import Advert, DeviceInfo, SkillAdvert, sign_advert
from swarmharness.registry.messages import METHOD_PUSH, Push
from tests.hostile.attack import on_channel
from tests.hostile.raw_channel import RawChannel

_BATCH = 32


def receipt(requester: Identity, worker: Identity, number: int) -> SignedReceipt:
    """Return a receipt of work that was never done, with both signatures, at its place in both chains."""
    body = ReceiptBody(
        tasks=(os.urandom(16),),
        requester=requester.peer_id,
        worker=worker.peer_id,
        epoch=epoch_of(time.time_ns() // 1_000),
        price_microcredits=1,
        share_microcredits=1,
        game_digest=bytes(32),
        model_digest=os.urandom(32),
        input_digest=os.urandom(32),
        output_digest=os.urandom(32),
        skill="none",
        items=1,
        service_us=1,
    )
    digest, previous = body_digest(body), os.urandom(32) if number else bytes(32)
    halves = [sign_half(one, digest, incarnation=1, number=number, previous=previous) for one in (requester, worker)]
    return SignedReceipt(body, *halves)


def advert(identity: Identity, sequence: int) -> Advert:
    """Return an advert with as many skills as there may be, whose names nobody knows."""
    now_s = int(time.time())
    skills = tuple(
        SkillAdvert(
            name=f"{os.urandom(12).hex()}-{number}",
            version="1",
            kind="tensor",
            model_digest=os.urandom(32),
            comparison_class="none",
            batch_invariant=True,
            batch_items_max=1,
            service_us=1,
            price_microcredits=0,
            provider="",
            queued_items=0,
        )
        for number in range(16)
    )
    addresses = tuple(f"/ip4/127.200.0.{number}/tcp/4001" for number in range(16))
    return Advert(identity.peer_id, sequence, now_s, now_s + 86_000, addresses, DeviceInfo(1, 1, (), ()), skills)


@on_channel("receipts", "credit.gossip with valid receipts between the attacker and ever new accomplices")
async def receipts(channel: RawChannel) -> None:
    own = Identity(channel.peer.identity.private_bytes_raw())
    for start in count(0, _BATCH):
        other = Identity(os.urandom(32))
        made = tuple(receipt(own, other, number) for number in range(start, start + _BATCH))
        await channel.request(GOSSIP_METHOD, encode(Gossip(made)))


@on_channel("adverts", "registry.push with well-signed adverts of ever new nodes that do not exist")
async def adverts(channel: RawChannel) -> None:
    for sequence in count(1):
        identity = Identity(os.urandom(32))
        signed = sign_advert(advert(identity, sequence), identity)
        await channel.request(METHOD_PUSH, encode(Push(signed)))


@on_channel("own-adverts", "registry.push with ever newer adverts of the attacker, each with other skills")
async def own_adverts(channel: RawChannel) -> None:
    own = Identity(channel.peer.identity.private_bytes_raw())
    for sequence in count(1):
        await channel.request(METHOD_PUSH, encode(Push(sign_advert(advert(own, sequence), own))))


@on_channel("comparisons", "credit.open with 8,192 interests, and ranges that nobody agreed on, without end")
async def comparisons(channel: RawChannel) -> None:
    bounds = tuple(RangeBounds(bytes([number]), bytes([number, 255])) for number in range(INTERVALS_MAX))
    ranges = encode(RangesRequest(os.urandom(8), bounds))
    while True:
        interests = b"".join(sorted(os.urandom(SHORT_BYTES) for _ in range(INTERESTS_MAX // 2)))
        await channel.request(OPEN_METHOD, encode(Opening(0, interests, b"", ())))
        await channel.request(RANGES_METHOD, ranges)
