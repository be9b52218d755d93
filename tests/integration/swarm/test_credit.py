"""Credit between real node processes on loopback: kills, backups, partitions, forks."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.archive import Header, archive
from swarmharness.credit.chain import place_after
from swarmharness.credit.receipt import Half, Receipt, ReceiptBody, epoch_of
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.terms import TaskTerms, settlement_body
from swarmharness.errors import UnavailableError
from swarmharness.execution.items import shorten_file
from swarmharness.identity import Identity
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from swarmharness.ports import SystemClock
from tests.integration.swarm.test_processes import call, command
from tests.unit.credit.builders import half

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "file-type"
WORKER = 'version = 1\n\n[execution]\nthreads = 1\nskills = ["file-type"]\n'
CLIENT = "version = 1\n\n[execution]\nskills = []\n"


class Swarm:
    """Nodes by number that can be killed and started again on the same data directory."""

    def __init__(self, folder: Path, group: NodeGroup) -> None:
        self._folder, self._group = folder, group
        self.nodes: list[NodeProcess] = []
        self._configs: list[str] = []

    def start(self, *configs: str) -> None:
        """Start further nodes; the first of all is whom the others join."""
        for config in configs:
            self._configs.append(config)
            self.nodes += self._group.start(self._launch(len(self.nodes)))

    def restart(self, number: int) -> NodeProcess:
        self.nodes[number] = self._group.start(self._launch(number))[0]
        return self.nodes[number]

    def path(self, number: int) -> Path:
        return self._folder / f"node-{number}"

    async def configure(self, number: int, more: str = "") -> None:
        await trio.Path(self.path(number) / "node.toml").write_text(self._configs[number] + more)

    def _launch(self, number: int) -> NodeLaunch:
        join = (self.nodes[0].join_address,) if self.nodes and number else ()
        return NodeLaunch(self.path(number), join, config=self._configs[number])


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    with NodeGroup() as group:
        yield Swarm(tmp_path, group)


async def work(client: NodeProcess, items: int = 40, *, stop: Callable[[int], bool] = lambda done: False) -> set[str]:
    """Have so many items done, or fewer if `stop`, which hears how many are done, says so; return by whom."""
    peers: set[str] = set()
    count = 0
    async with open_control(client.data_dir) as control:

        async def settled_items() -> int:
            history = await control.call("credit.history", {"limit": 10_000})
            return sum(entry["items"] for entry in history["entries"] if entry["role"] == "requester")

        before = await settled_items()
        job = (await control.call("job.open", {"skill": SKILL, "deadline_s": 60.0, "verify": "none"}))["job"]
        inputs = [shorten_file(b"#!/bin/sh\necho %d\n" % number) for number in range(items)]
        await control.call("job.feed", {"job": job, "items": inputs, "last": True})
        done = False
        while not done:
            answer = await control.call("job.results", {"job": job})
            done = answer["done"]
            for result in answer["results"]:
                assert result["error"] == ""
                peers.add(result["peer"])
                count += 1
            if stop(count):
                return peers

        async def owes_nothing() -> bool:  # an answer is paid for when it is on disk, a moment after it was handed out
            return await settled_items() >= before + items

        await until(owes_nothing)
    return peers


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    with trio.fail_after(seconds):
        while not await condition():
            await trio.sleep(0.05)


async def served(client: NodeProcess, workers: int = 1) -> None:
    """Wait until a node knows so many that would work for it."""

    async def enough() -> bool:
        known = 0
        try:
            candidates = (await call(client, "router.explain", skill=SKILL))["candidates"]
            known = sum(candidate["position"] is not None for candidate in candidates)
        except* UnavailableError:
            pass  # those that it remembers have not come back yet
        return known >= workers

    await until(enough)


async def settled(*nodes: NodeProcess, lost: int = 0) -> None:
    """Wait until every signature has come, but for those that a crash made impossible."""

    async def nothing_waits() -> bool:
        return all([(await call(node, "credit.balance"))["half_entries"] <= lost for node in nodes])

    await until(nothing_waits)


def audited(path: Path) -> dict[str, Any]:
    done = command("credit", "audit", "--json", "--data-dir", path)
    assert done.returncode in (0, 3), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


async def assert_clean(paths: Sequence[Path]) -> None:
    for path in paths:
        report = await trio.to_thread.run_sync(audited, path)
        assert report["clean"], report["problems"]
        assert report["forkers"] == []
        assert report["peer_id"] not in {gap["peer_id"] for gap in report["gaps"]}


def stored(path: Path) -> ReceiptFile:
    return ReceiptFile(path / "swarm.sqlite", read_only=True)


def receipts_in(path: Path) -> set[bytes]:
    file = stored(path)
    try:
        return {claim.digest for claim in file.claims(0)}
    finally:
        file.close()


def own_head(path: Path, peer_id: str) -> Half:
    file = stored(path)
    try:
        (head,) = file.heads([peer_id])
        return head
    finally:
        file.close()


async def test_nodes_killed_in_mid_settlement_go_on_with_clean_books_c_17(swarm: Swarm) -> None:
    swarm.start(WORKER, CLIENT)
    chance = random.Random(4)
    for victim in (0, 1):
        await served(swarm.nodes[1])
        await work(swarm.nodes[1], 400, stop=killing(swarm.nodes[victim], chance.randrange(300)))
        await trio.to_thread.run_sync(audited, swarm.path(victim))
        await trio.to_thread.run_sync(swarm.restart, victim)
    await served(swarm.nodes[1])
    lost = (await call(swarm.nodes[1], "credit.balance"))["half_entries"]
    await work(swarm.nodes[1])
    await settled(*swarm.nodes, lost=lost)
    await assert_clean([swarm.path(0), swarm.path(1)])


def killing(victim: NodeProcess, after: int) -> Callable[[int], bool]:
    def stop(done: int) -> bool:
        if done > after:
            victim.kill()
        return done > after

    return stop


async def test_a_restored_backup_begins_a_new_incarnation_and_nobody_is_banned_c_17(swarm: Swarm) -> None:
    swarm.start(WORKER, CLIENT)
    me, path = swarm.nodes[1].peer_id, swarm.path(1)
    await served(swarm.nodes[1])
    await work(swarm.nodes[1])
    await settled(*swarm.nodes)
    swarm.nodes[1].stop()
    before = own_head(path, me).content
    shutil.copy(path / "swarm.sqlite", path / "backup")
    swarm.restart(1)
    await served(swarm.nodes[1])
    await work(swarm.nodes[1])
    await settled(*swarm.nodes)
    swarm.nodes[1].stop()
    after = own_head(path, me).content
    assert after.incarnation == before.incarnation, "a stop alone needs no new incarnation"
    assert after.number > before.number
    (path / "backup").replace(path / "swarm.sqlite")
    swarm.restart(1)
    await served(swarm.nodes[1])
    await work(swarm.nodes[1])

    async def opened_another() -> bool:  # what the backup lacks comes back from the other node, and looks like new work
        await trio.lowlevel.checkpoint()
        return own_head(path, me).content.incarnation > after.incarnation

    await until(opened_another)
    await settled(*swarm.nodes)
    await assert_clean([swarm.path(0), path])
    assert (await call(swarm.nodes[0], "credit.balance", peer=me))["peer"]["new_incarnation"]


@pytest.mark.timeout(420)  # gossip waits up to three minutes for company (C-21), and those of one side need it
async def test_receipts_converge_after_a_partition_of_two_and_three(swarm: Swarm) -> None:
    swarm.start(WORKER, CLIENT, WORKER, WORKER, CLIENT)
    sides, workers = ((0, 1), (2, 3, 4)), {0, 2, 3}
    ids = [node.peer_id for node in swarm.nodes]
    for client in (1, 4):
        await served(swarm.nodes[client], 3)
        wanted = {ids[number] for number in workers}

        async def all_have_worked(client: int = client, wanted: set[str] = wanted) -> bool:
            wanted -= await work(swarm.nodes[client], 100)
            return not wanted

        await until(all_have_worked)
    await settled(*swarm.nodes)

    for side, others in (sides, sides[::-1]):
        denied = ", ".join(f'"{ids[other]}"' for other in others)
        for number in side:
            await swarm.configure(number, f"\n[network]\ndeny = [{denied}]\n")
    for side in sides:
        for number in side:

            async def alone(number: int = number, most: int = len(side) - 1) -> bool:
                return bool((await call(swarm.nodes[number], "node.status"))["registry"]["connected"] <= most)

            await until(alone)
    assert await work(swarm.nodes[1]) == {ids[0]}
    assert await work(swarm.nodes[4]) <= {ids[2], ids[3]}
    for side in sides:
        await settled(*[swarm.nodes[number] for number in side])
    stores = [receipts_in(swarm.path(number)) for number in range(5)]
    here, there = stores[0] | stores[1], stores[2] | stores[3] | stores[4]
    assert here - there
    assert there - here

    for number in range(5):
        await swarm.configure(number)

    async def all_have_all() -> bool:
        await trio.lowlevel.checkpoint()
        return all(receipts_in(swarm.path(number)) == here | there for number in range(5))

    await until(all_have_all, 240)
    await assert_clean([swarm.path(number) for number in range(5)])


async def test_a_node_that_forks_its_chain_is_banned_by_every_other_c_16(swarm: Swarm, tmp_path: Path) -> None:
    """Its owner signs one place twice, for an accomplice, and gives each half of the truth to another node."""
    swarm.start(WORKER, WORKER, WORKER, CLIENT)
    forker, partners = swarm.nodes[3], {node.peer_id for node in swarm.nodes[:2]}
    await served(forker, 3)

    async def worked_with_both() -> bool:
        nonlocal partners
        partners -= await work(forker, 100)
        return not partners

    await until(worked_with_both)
    await settled(*swarm.nodes)
    forker.stop()
    swarm.nodes[1].stop()
    key, head = forker.data_dir.identity(), own_head(swarm.path(3), forker.peer_id)
    for number in (0, 1):
        forged = forked(key, head, number)
        file = tmp_path / f"receipts-{number}"
        header = Header(forker.peer_id, SystemClock().unix_us(), 0)
        file.write_bytes(b"".join(archive(header, [forged], [], [])))
        done = command("credit", "import", file, "--json", "--data-dir", swarm.path(number))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["new"] == 1
    swarm.restart(1)
    honest = swarm.nodes[:3]

    async def banned_everywhere() -> bool:
        answers = [await call(node, "credit.balance", peer=forker.peer_id) for node in honest]
        return all(answer["peer"]["banned"] for answer in answers)

    await until(banned_everywhere, 90)
    refused = await trio.to_thread.run_sync(asks_again, swarm)
    assert refused.returncode != 0, "a banned node is served by nobody (C-16)"
    assert "signed two histories" in refused.stderr
    statuses = [await call(node, "node.status") for node in honest]
    assert any(status["refused_messages"].get("a request of a banned peer") for status in statuses)
    balances = [await call(node, "credit.balance") for node in honest[:2]]
    assert all(balance["earned_microcredits"] > 0 for balance in balances), "a ban takes no receipt from anyone (C-16)"
    report = await trio.to_thread.run_sync(audited, swarm.path(1))
    assert report["forkers"] == [forker.peer_id]
    assert {problem["kind"] for problem in report["problems"]} == {"fork"}


def asks_again(swarm: Swarm) -> Any:
    swarm.restart(3)
    return command("submit", SKILL, __file__, "--deadline", "5", "--data-dir", swarm.path(3))


def forked(key: Identity, head: Half, number: int) -> Entry:
    """Return a receipt with an accomplice, at the place after the key's last one."""
    accomplice, digest = Identity(bytes([number + 1]) * 32), bytes([number]) * 32
    epoch = epoch_of(SystemClock().unix_us())
    parties = (key.peer_id, accomplice.peer_id)
    terms = TaskTerms(digest[:16], *parties, epoch, 1_000, digest, digest, digest, SKILL, 1, 1)
    body: ReceiptBody = settlement_body([terms])
    made = Receipt(body, half(body, key, place=place_after(head)), half(body, accomplice))
    return Entry(made.body, made.requester_half, made.worker_half, SystemClock().unix_us())
