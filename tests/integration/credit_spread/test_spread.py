"""Receipts and proofs reach those who need them over the in-memory network, in virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from swarmharness.credit.admission import Policy, Rank
from swarmharness.credit.chain import opening
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import Receipt
from swarmharness.credit.spread.intake import SpreadProblem
from swarmharness.credit.spread.messages import GOSSIP_METHOD, Gossip
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.errors import RefusedError
from swarmharness.protocol.codec import encode
from tests.integration.credit_spread.swarm import HOUR_S, Node, Swarm, entry_of, name_of, open_swarm, until
from tests.unit.credit.builders import NOON_US, body, half, identity, receipt


async def all_know(nodes: list[Node], receipts: list[Receipt]) -> bool:
    names = {name_of(one) for one in receipts}
    return all([names <= await node.digests() for node in nodes])


async def acquainted(swarm: Swarm) -> list[Receipt]:
    """Let every node work for the next one."""
    nodes = swarm.nodes
    made = [await swarm.work(node, nodes[(at + 1) % len(nodes)]) for at, node in enumerate(nodes)]
    await trio.sleep(60)
    return made


async def test_a_new_receipt_is_gossiped_to_the_followers_of_both_parties_c_21(autojump_clock: MockClock) -> None:
    async with open_swarm(5, settings=SpreadSettings(gossip_batch_s=1)) as swarm:
        one, two, three, *_ = swarm.nodes
        await acquainted(swarm)
        sessions = [node.spread.sessions for node in swarm.nodes]
        fresh = await swarm.work(two, three)
        await trio.sleep(2)
        assert await all_know([one, two, three, swarm.nodes[3]], [fresh])
        assert [node.spread.sessions for node in swarm.nodes] == sessions  # no reconciliation was needed


async def test_a_node_keeps_only_receipts_within_two_hops_of_itself_c_19(autojump_clock: MockClock) -> None:
    async with open_swarm(4) as swarm:
        one, two, three, four = swarm.nodes
        near = [await swarm.work(one, two), await swarm.work(two, three)]
        far = await swarm.work(three, four)
        await trio.sleep(HOUR_S)
        assert await one.digests() == {name_of(receipt) for receipt in near}
        assert await all_know([two], [*near, far])


async def test_in_a_large_swarm_a_node_keeps_the_receipts_of_few_partners_c_19(autojump_clock: MockClock) -> None:
    async with open_swarm(12, settings=SpreadSettings(followed_max=2)) as swarm:
        for at, worker in enumerate(swarm.nodes):
            for requester in swarm.nodes[at + 1 :]:
                await swarm.work(worker, requester)
        await trio.sleep(HOUR_S)
        fresh = [await swarm.work(swarm.nodes[0], node) for node in swarm.nodes[1:]]
        await trio.sleep(HOUR_S)
        names = {name_of(one) for one in fresh}
        copies = sum([len(names & await node.digests()) for node in swarm.nodes])
        assert len(names) * 2 < copies <= len(names) * (2 + 2 * 2 * 2)
        for node in swarm.nodes[1:]:
            followed = {name_of(one) for one in fresh if node.spread.near.followed & {one.body.requester}}
            assert followed <= await node.digests()


async def test_credit_earned_elsewhere_counts_before_a_request_is_refused_c_21(autojump_clock: MockClock) -> None:
    """Two worked for three, and three for one: one serves two, of which it never heard before."""
    settings = SpreadSettings(followed_max=0)
    async with open_swarm(4, settings=settings) as swarm:
        one, two, three, four = swarm.nodes
        earned, served = await swarm.work(two, three), await swarm.work(three, one)
        await trio.sleep(HOUR_S)
        assert not await all_know([one], [earned])
        one.credit.set_policy(Policy(stranger_budget_microcredits=0))
        price = min(earned.body.share_microcredits, served.body.share_microcredits) // 2
        ticket = await one.credit.admit(two.peer_id, price)
        assert ticket.priority[0] == Rank.COVERED
        assert await all_know([one], [earned])
        with pytest.raises(RefusedError):
            await one.credit.admit(four.peer_id, price)


async def test_a_request_on_the_strangers_budget_is_served_at_once_and_the_next_counts_c_21(
    autojump_clock: MockClock,
) -> None:
    async with open_swarm(3, settings=SpreadSettings(followed_max=0)) as swarm:
        one, two, three = swarm.nodes
        earned, served = await swarm.work(two, three), await swarm.work(three, one)
        price = min(earned.body.share_microcredits, served.body.share_microcredits)
        began = trio.current_time()
        assert (await one.credit.admit(two.peer_id, price)).priority[0] == Rank.STRANGER
        assert trio.current_time() == began
        await trio.sleep(1)
        assert (await one.credit.admit(two.peer_id, price)).priority[0] == Rank.COVERED


async def test_a_requester_that_shows_nothing_is_waited_for_once_and_not_long_c_21(autojump_clock: MockClock) -> None:
    async with open_swarm(3) as swarm:
        one, two, three = swarm.nodes
        await swarm.work(three, one)
        one.credit.set_policy(Policy(stranger_budget_microcredits=0))
        swarm.network.cut(one.peer_id, two.peer_id)
        for most_s in (SpreadSettings().show_timeout_s, 0):
            began = trio.current_time()
            with pytest.raises(RefusedError):
                await one.credit.admit(two.peer_id, 1_000)
            assert trio.current_time() - began <= most_s


async def test_what_a_new_partner_did_before_is_fetched_within_seconds_c_19(autojump_clock: MockClock) -> None:
    async with open_swarm(3) as swarm:
        one, two, three = swarm.nodes
        await trio.sleep(20)
        earlier = await swarm.work(two, three)
        await trio.sleep(20)
        assert await one.digests() == frozenset()
        await swarm.work(one, two)
        await trio.sleep(10)
        assert await all_know([one], [earlier])


async def test_a_partition_of_two_and_three_heals_and_all_converge(autojump_clock: MockClock) -> None:
    async with open_swarm(5) as swarm:
        made = await acquainted(swarm)
        left, right = swarm.nodes[:2], swarm.nodes[2:]
        swarm.network.partition([node.peer_id for node in left], [node.peer_id for node in right])
        await trio.sleep(60)
        for _ in range(10):
            made.append(await swarm.work(left[0], left[1]))
            made.append(await swarm.work(right[0], right[1]))
            made.append(await swarm.work(right[2], right[0]))
        swarm.network.heal()

        async def healed() -> bool:
            expected = [
                {name_of(one) for one in made if node.spread.near.wants(one.body.requester, one.body.worker)}
                for node in swarm.nodes
            ]
            return [await node.digests() for node in swarm.nodes] == expected

        await until(healed)
        across = [one for one in made if {one.body.requester, one.body.worker} == {right[0].peer_id, right[2].peer_id}]
        assert len(across) == 10
        assert await all_know([left[0]], across)


async def test_a_node_that_was_away_for_a_day_catches_up(autojump_clock: MockClock) -> None:
    async with open_swarm(4) as swarm:
        made = await acquainted(swarm)
        one, two, _, four = swarm.nodes
        await four.down()
        for _ in range(24):
            made.append(await swarm.work(one, two))
            await trio.sleep(HOUR_S)
        back = await swarm.start(4, store=four.store)
        await swarm.connect_all()

        async def caught_up() -> bool:
            return await all_know([back], made)

        await until(caught_up, deadline_s=600)


async def test_a_node_that_lost_its_store_gets_it_back_from_its_partners(autojump_clock: MockClock) -> None:
    async with open_swarm(4) as swarm:
        made = await acquainted(swarm)
        four = swarm.nodes[3]
        await four.down()
        back = await swarm.start(4, store=MemoryReceiptStore())
        await swarm.connect_all()

        async def restored() -> bool:
            return await all_know([back], [made[2], made[3], made[0]])

        await until(restored, deadline_s=600)


async def test_a_forker_is_banned_by_all_even_by_those_who_come_late_c_15_c_16(autojump_clock: MockClock) -> None:
    async with open_swarm(5) as swarm:
        await acquainted(swarm)
        mallory, two, three, *_ = swarm.nodes
        place = opening(0, NOON_US + 1)
        for number, partner in ((901, two), (902, three)):
            statement = body(number, partner.who, mallory.who)
            forged = Receipt(
                statement, half(statement, partner.who, place=opening(7, 0)), half(statement, mallory.who, place=place)
            )
            await partner.store.commit([entry_of(forged)])
            partner.spread.add_own(forged)

        async def banned() -> bool:
            return all(node.spread.is_banned(mallory.peer_id) for node in swarm.nodes[1:])

        await until(banned, deadline_s=300)
        assert not any(node.spread.is_banned(two.peer_id) for node in swarm.nodes)
        late = await swarm.start(6)
        await late.transport.connect(swarm.nodes[4].peer_id, timeout_s=5)

        async def late_knows() -> bool:
            return late.spread.is_banned(mallory.peer_id)

        await until(late_knows, deadline_s=60)


async def test_a_flood_from_one_signer_is_cut_off_and_hinders_nobody_c_20(autojump_clock: MockClock) -> None:
    async with open_swarm(4) as swarm:
        await acquainted(swarm)
        mallory, two, three, four = swarm.nodes
        sybil = identity(99)
        flood = [receipt(number, sybil, mallory.who) for number in range(1_000, 1_640)]
        for start in range(0, len(flood), 64):
            message = encode(Gossip(tuple(flood[start : start + 64])))
            await mallory.transport.call(two.peer_id, GOSSIP_METHOD, message, timeout_s=10)
        assert two.spread.refused[SpreadProblem.SIGNER_TOO_FAST] > 300
        assert len(await two.digests()) < 300
        fresh = await swarm.work(three, four)
        await trio.sleep(120)
        assert await all_know([two], [fresh])
