"""Nodes on disk that lose what they signed: they open a new incarnation, and nobody is banned (C-17, C-18)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from swarmharness.credit.receipt import epoch_of
from swarmharness.credit.service import CreditService
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.identity import Identity, PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.ports import PeerAddress
from swarmharness.ports import SystemClock, SystemRandomness
from tests.unit.credit.builders import ALICE, BOB, CAROL, terms

EVERYONE = (ALICE, BOB, CAROL)


@asynccontextmanager
async def node(network: MemoryNetwork, who: Identity, folder: Path) -> AsyncIterator[CreditService]:
    """One life of a node; its file stays."""
    clock = SystemClock()
    async with (
        open_sqlite_store(folder / f"{who.peer_id}.db", owner=who.peer_id, unix_us=clock.unix_us()) as store,
        network.node(who.peer_id) as end,
        trio.open_nursery() as nursery,
    ):
        for other in EVERYONE:
            end.add_addresses(PeerAddress(other.peer_id, (f"/memory/{other.peer_id}",)))
        service = CreditService(store, who, end, clock, SystemRandomness())
        await nursery.start(service.run)
        await service.books.ready.wait()
        yield service
        nursery.cancel_scope.cancel()


async def pay(requester: CreditService, worker: CreditService, who: tuple[Identity, Identity], number: int) -> None:
    made = terms(number, *who, epoch=epoch_of(SystemClock().unix_us()))
    worker.expect(made)
    requester.settle_task(made)
    await requester.drain()


def incarnations(service: CreditService, who: Identity) -> int:
    books = service.books
    return len(books._several.get(who.peer_id, ())) or int(who.peer_id in books._seen)


def nobody_is_banned(*services: CreditService) -> bool:
    return not any(service.books.banned or service.refused for service in services)


def backup(folder: Path, who: Identity) -> Path:
    file = folder / f"{who.peer_id}.db"
    return Path(shutil.copy(file, folder / "backup"))


def restore(folder: Path, who: Identity) -> None:
    file = folder / f"{who.peer_id}.db"
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    (folder / "backup").replace(file)


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("*.damaged-*"))


async def test_a_clean_restart_continues_the_chain(tmp_path: Path) -> None:
    async with MemoryNetwork() as network, node(network, BOB, tmp_path) as bob:
        for number in range(3):
            async with node(network, ALICE, tmp_path) as alice:
                await pay(alice, bob, (ALICE, BOB), number)
        assert incarnations(bob, ALICE) == 1
        assert (await bob.balance()).by_peer[0].receipts == 3
        assert nobody_is_banned(bob)


@pytest.mark.parametrize("who", [ALICE, BOB])
async def test_a_restored_backup_begins_a_new_incarnation_as_requester_or_worker_c_17(
    tmp_path: Path, who: Identity
) -> None:
    other = BOB if who is ALICE else ALICE
    async with MemoryNetwork() as network, node(network, other, tmp_path) as witness:

        async def exchange(numbers: range) -> None:
            async with node(network, who, tmp_path) as restarted:
                parties = (restarted, witness) if who is ALICE else (witness, restarted)
                for number in numbers:
                    await pay(*parties, (ALICE, BOB), number)
                assert nobody_is_banned(witness, restarted)

        await exchange(range(3))
        backup(tmp_path, who)
        await exchange(range(3, 6))
        assert incarnations(witness, who) == 1
        restore(tmp_path, who)
        await exchange(range(6, 9))
        assert incarnations(witness, who) == 2
        assert witness.books.renewed == {who.peer_id}
        assert (await witness.balance()).by_peer[0].receipts == 9, "old receipts still count"
        if who is BOB:
            assert witness.credit_of(PeerId(BOB.peer_id)).flow == 0, "a new incarnation is a stranger (C-18)"


async def test_a_damaged_file_is_set_aside_and_the_node_goes_on_as_a_stranger(tmp_path: Path) -> None:
    async with MemoryNetwork() as network, node(network, BOB, tmp_path) as bob:
        async with node(network, ALICE, tmp_path) as alice:
            await pay(alice, bob, (ALICE, BOB), 1)
        (tmp_path / f"{ALICE.peer_id}.db").write_bytes(b"no database " * 1_000)
        async with node(network, ALICE, tmp_path) as alice:
            await pay(alice, bob, (ALICE, BOB), 2)
            assert nobody_is_banned(alice, bob)
        assert incarnations(bob, ALICE) == 2
        assert set_aside(tmp_path)


async def test_a_restored_worker_is_not_believed_to_owe_nothing_by_a_third_party(tmp_path: Path) -> None:
    """Carol saw nothing of Alice's lost receipts; Bob did, and he is enough."""
    async with MemoryNetwork() as network, node(network, BOB, tmp_path) as bob, node(network, CAROL, tmp_path) as carol:
        async with node(network, ALICE, tmp_path) as alice:
            await pay(alice, bob, (ALICE, BOB), 1)
            await pay(alice, carol, (ALICE, CAROL), 2)
        backup(tmp_path, ALICE)
        async with node(network, ALICE, tmp_path) as alice:
            await pay(alice, bob, (ALICE, BOB), 3)
        restore(tmp_path, ALICE)
        async with node(network, ALICE, tmp_path) as alice:
            await pay(alice, carol, (ALICE, CAROL), 4)
            bob.received(
                [entry.receipt for entry in await carol._store.history(CAROL.peer_id, limit=9) if entry.receipt]
            )
            assert incarnations(bob, ALICE) == 2
            assert nobody_is_banned(alice, bob, carol)
