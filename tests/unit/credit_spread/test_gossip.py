from __future__ import annotations

import trio
from trio.testing import MockClock

from swarmharness.credit.receipt import Receipt, body_digest
from swarmharness.credit.spread.gossip import INTERESTS_KEPT_MAX, Gossiper
from swarmharness.credit.spread.messages import BATCH_MAX, GOSSIP_METHOD, INTERESTS_MAX, Gossip, GossipAnswer
from swarmharness.credit.spread.neighbourhood import short_id
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import ALICE, BOB, CAROL, Wire, WireTransport, ZeroRandomness, identity, receipt


class Connected(WireTransport):
    def connected(self) -> tuple[PeerId, ...]:
        return tuple(peer for peer in self.wire.ends if peer != self.peer_id)


class Peer:
    """A node that notes which receipts each message brings."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.messages: list[list[bytes]] = []
        self.interests = b""
        self.peer_id = identity(number).peer_id
        WireTransport(wire, self.peer_id).handle(GOSSIP_METHOD, self.hear)

    async def hear(self, request: Request) -> bytes:
        self.messages.append([body_digest(one.body) for one in decode(Gossip, request.payload).receipts])
        return encode(GossipAnswer(0, self.interests))


def gossiper(wire: Wire, followers: dict[PeerId, list[Peer]], **changes: int) -> Gossiper:
    """Alice's; she knows who keeps whose receipts."""
    made = Gossiper(Connected(wire, ALICE.peer_id), ZeroRandomness(), SpreadSettings(**changes))
    interests: dict[PeerId, set[bytes]] = {}
    for followed, peers in followers.items():
        for peer in peers:
            interests.setdefault(peer.peer_id, set()).add(short_id(followed))
            peer.interests += short_id(followed)
    for follower, ids in interests.items():
        made.heard(follower, frozenset(ids))
    return made


def names(*receipts: Receipt) -> list[bytes]:
    return [body_digest(one.body) for one in receipts]


async def test_what_gathers_goes_to_those_who_follow_a_party_in_few_messages_c_21(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    mine, theirs, others, bob = Peer(wire, 10), Peer(wire, 11), Peer(wire, 12), Peer(wire, 2)
    gossip = gossiper(wire, {ALICE.peer_id: [mine, bob], BOB.peer_id: [theirs], CAROL.peer_id: [others]})
    nursery.start_soon(gossip.run)
    made = [receipt(number, ALICE, BOB) for number in range(BATCH_MAX + 1)]
    for one in made:
        gossip.publish(one)
        await trio.sleep(0.1)
    assert mine.messages == []
    await trio.sleep(120)
    for peer in (mine, theirs):
        assert peer.messages == [names(*made[:BATCH_MAX]), names(made[-1])]
    assert bob.messages == []  # the other party has it
    assert others.messages == []


async def test_nothing_goes_to_whoever_is_gone_and_lost_ones_are_counted(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    peer, gone = Peer(wire, 10), Peer(wire, 11)
    gossip = gossiper(wire, {ALICE.peer_id: [peer], BOB.peer_id: [gone]})
    nursery.start_soon(gossip.run)

    gossip.publish(receipt(1, ALICE, BOB))
    del wire.ends[gone.peer_id]
    await trio.sleep(120)
    assert gossip.lost == 1
    gossip.forget(peer.peer_id)
    gossip.publish(receipt(2, ALICE, BOB))
    await trio.sleep(120)
    assert len(peer.messages) == 1


async def test_whoever_follows_no_more_says_so_with_its_answer_c_21(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    peer = Peer(wire, 10)
    gossip = gossiper(wire, {ALICE.peer_id: [peer]})
    nursery.start_soon(gossip.run)
    for number in range(4):
        gossip.publish(receipt(number, ALICE, BOB))
        await trio.sleep(120)
        if number == 1:
            peer.interests = b""
    assert [len(message) for message in peer.messages] == [1, 1, 1]


async def test_a_queue_is_bounded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    wire = Wire()
    peer = Peer(wire, 10)
    gossip = gossiper(wire, {ALICE.peer_id: [peer]}, queue_receipts_max=3)
    nursery.start_soon(gossip.run)
    for number in range(5):
        gossip.publish(receipt(number, ALICE, BOB))
    await trio.sleep(120)
    assert [len(message) for message in peer.messages] == [3]
    assert gossip.lost == 2


async def test_of_a_peer_that_names_thousands_few_are_kept_and_this_node_among_them() -> None:
    wire = Wire()
    crowd = gossiper(wire, {})
    own = short_id(ALICE.peer_id)
    names_of_many = frozenset(number.to_bytes(8, "big") for number in range(INTERESTS_MAX - 1)) | {own}
    for number in range(20, 24):
        crowd.heard(identity(number).peer_id, names_of_many)
    assert crowd.kept == 4 * INTERESTS_KEPT_MAX
    assert crowd.follows(own) == {identity(number).peer_id for number in range(20, 24)}
