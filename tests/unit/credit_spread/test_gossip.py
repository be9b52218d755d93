from __future__ import annotations

import trio
from trio.testing import MockClock

from swarmharness.credit.receipt import Receipt, body_digest
from swarmharness.credit.spread.gossip import Gossiper
from swarmharness.credit.spread.messages import BATCH_MAX, GOSSIP_METHOD, Gossip
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request
from swarmharness.protocol.codec import decode
from tests.unit.credit.builders import ALICE, BOB, Wire, WireTransport, ZeroRandomness, body, identity, receipt

EPOCH = body().epoch


class Connected(WireTransport):
    def connected(self) -> tuple[PeerId, ...]:
        return tuple(peer for peer in self.wire.ends if peer != self.peer_id)


class Peer:
    """A node that notes which receipts each message brings."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.messages: list[list[bytes]] = []
        self.peer_id = identity(number).peer_id
        WireTransport(wire, self.peer_id).handle(GOSSIP_METHOD, self.hear)

    async def hear(self, request: Request) -> bytes:
        self.messages.append([body_digest(one.body) for one in decode(Gossip, request.payload).receipts])
        return b""


def gossiper(wire: Wire, partners: dict[PeerId, list[Peer]], **changes: int) -> Gossiper:
    near = Neighbourhood(ALICE.peer_id, EPOCH)
    number = 0
    for peer, others in partners.items():
        for other in others:
            number += 1
            near.add(EPOCH, number.to_bytes(32, "big"), peer, other.peer_id)
    return Gossiper(Connected(wire, ALICE.peer_id), near, ZeroRandomness(), SpreadSettings(**changes))


def names(*receipts: Receipt) -> list[bytes]:
    return [body_digest(one.body) for one in receipts]


async def test_a_party_sends_to_the_partners_of_both_in_few_messages_c_21(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    mine, theirs, bob = Peer(wire, 10), Peer(wire, 11), Peer(wire, 2)
    gossip = gossiper(wire, {ALICE.peer_id: [mine, bob], BOB.peer_id: [theirs]})
    nursery.start_soon(gossip.run)
    made = [receipt(number, ALICE, BOB) for number in range(BATCH_MAX + 1)]
    for one in made:
        gossip.publish(one)
    await trio.sleep(1)
    for peer in (mine, theirs):
        assert peer.messages == [names(*made[:BATCH_MAX]), names(made[-1])]
    assert bob.messages == []  # the other party has it


async def test_at_most_so_many_partners_get_it_from_a_party_and_two_from_others_c_21(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    peers = [Peer(wire, 100 + number) for number in range(70)]
    gossip = gossiper(wire, {ALICE.peer_id: peers, BOB.peer_id: peers})
    nursery.start_soon(gossip.run)
    gossip.publish(receipt(1, ALICE, BOB))
    await trio.sleep(1)
    assert sum(len(peer.messages) for peer in peers) == 64
    gossip.publish(receipt(2, identity(9), BOB), came_from=peers[0].peer_id)
    await trio.sleep(1)
    assert sum(len(peer.messages) for peer in peers) == 66


async def test_it_does_not_go_back_to_where_it_came_from_and_lost_ones_are_counted(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wire = Wire()
    peer, gone = Peer(wire, 10), Peer(wire, 11)
    gossip = gossiper(wire, {ALICE.peer_id: [peer], BOB.peer_id: [gone]})
    nursery.start_soon(gossip.run)

    gossip.publish(receipt(1, ALICE, BOB), came_from=peer.peer_id)
    del wire.ends[gone.peer_id]
    await trio.sleep(1)
    assert peer.messages == []
    assert gossip.lost == 1


async def test_a_queue_is_bounded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    wire = Wire()
    peer = Peer(wire, 10)
    gossip = gossiper(wire, {ALICE.peer_id: [peer]}, queue_receipts_max=3)
    nursery.start_soon(gossip.run)
    for number in range(5):
        gossip.publish(receipt(number, ALICE, BOB))
    await trio.sleep(1)
    assert [len(message) for message in peer.messages] == [3]
    assert gossip.lost == 2
