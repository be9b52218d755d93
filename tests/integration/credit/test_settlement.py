"""Settlement between whole services on disk and the network's twin in memory, with its faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from swarmharness.credit.receipt import epoch_of
from swarmharness.credit.service import CreditService
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.terms import TaskTerms, settlement_body
from swarmharness.identity import Identity
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.ports import PeerAddress
from swarmharness.ports import SystemClock, SystemRandomness
from tests.unit.credit.builders import ALICE, BOB, CAROL, terms

EVERYONE = (ALICE, BOB, CAROL)


class Swarm:
    def __init__(self, network: MemoryNetwork, services: dict[Identity, CreditService]) -> None:
        self.network, self.services = network, services

    def answered(self, number: int, requester: Identity, worker: Identity) -> TaskTerms:
        epoch = epoch_of(SystemClock().unix_us())
        made = terms(number, requester, worker, epoch=epoch)
        self.services[worker].expect(made)
        return made


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(MemoryNetwork())
        ends = [await stack.enter_async_context(network.node(who.peer_id)) for who in EVERYONE]
        services = {}
        for number, (who, end) in enumerate(zip(EVERYONE, ends, strict=True)):
            path = tmp_path / f"{number}.db"
            store = await stack.enter_async_context(open_sqlite_store(path, owner=who.peer_id, unix_us=1))
            for other in ends:
                end.add_addresses(PeerAddress(other.peer_id, other.addresses))
            services[who] = CreditService(store, who, end, SystemClock(), SystemRandomness())
        nursery = await stack.enter_async_context(trio.open_nursery())
        for service in services.values():
            await nursery.start(service.run)
        yield Swarm(network, services)
        nursery.cancel_scope.cancel()


async def test_everyone_pays_everyone_at_once_and_the_books_are_balanced_c_5(swarm: Swarm) -> None:
    for number in range(40):
        for requester in EVERYONE:
            for worker in EVERYONE:
                if requester is not worker:
                    made = swarm.answered(number, requester, worker)
                    swarm.services[requester].settle_later(settlement_body([made]))
    for service in swarm.services.values():
        await service.drain()
    balances = [await service.balance() for service in swarm.services.values()]
    assert [sum(peer.receipts for peer in balance.by_peer) for balance in balances] == [160] * 3
    assert sum(balance.earned_microcredits - balance.spent_microcredits for balance in balances) == 0
    assert [balance.half_entries for balance in balances] == [0] * 3
    assert not any(service.refused for service in swarm.services.values())


async def test_a_worker_that_was_away_is_settled_with_when_it_comes_back(swarm: Swarm) -> None:
    made = swarm.answered(1, ALICE, BOB)
    swarm.network.kill(BOB.peer_id)
    alice = swarm.services[ALICE]
    alice.settle_later(settlement_body([made]))
    await alice.drain()
    assert (await alice.balance()).half_entries == 1
    swarm.network.revive(BOB.peer_id)
    with trio.fail_after(30):
        while (await alice.balance()).half_entries:
            pass  # each look at the store waits for its thread
    assert (await swarm.services[BOB].balance()).earned_microcredits == made.share_microcredits


async def test_a_worker_takes_no_task_of_somebody_else(swarm: Swarm) -> None:
    made = swarm.answered(1, ALICE, BOB)
    stolen = settlement_body([terms(1, CAROL, BOB, epoch=made.epoch)])
    swarm.services[CAROL].settle_later(stolen)
    await swarm.services[CAROL].drain()
    assert (await swarm.services[BOB].balance()).earned_microcredits == 0
    assert sum(swarm.services[BOB].refused.values()) == 1
