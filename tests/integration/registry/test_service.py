from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from swarmharness.errors import PeerLostError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Reason
from swarmharness.registry.advert import SignedAdvert
from swarmharness.registry.messages import METHOD_ADVERT, METHOD_PUSH, AdvertRequest, Push
from swarmharness.registry.service import OWN_LOOK_S
from swarmharness.registry.settings import RegistrySettings
from tests.integration.registry.swarm import Member, members
from tests.unit.registry.samples import NOW_UNIX_S, advert, identity, signed

SKILL = "text-embedding"


async def seconds_until(condition: object, most_s: float) -> float:
    """Wait in virtual time until the condition holds; returns how long that took."""
    assert callable(condition)
    started = trio.current_time()
    with trio.fail_after(most_s):
        while not condition():
            await trio.sleep(0.05)
    return trio.current_time() - started


async def test_a_client_finds_the_workers_that_joined_elsewhere(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, first, second, client):
            assert await client.names() == sorted([first.peer_id, second.peer_id])


async def test_the_first_answer_is_more_than_the_node_that_happens_to_be_known(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.005) as network:
        async with members(network, [[SKILL], [SKILL], [SKILL], []]) as swarm:
            assert len(await swarm[-1].names()) == 3


async def test_a_cold_look_up_takes_at_most_300_ms_and_a_warm_one_no_time(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], *[[SKILL]] * 18, []]) as swarm:
            started = trio.current_time()
            assert await swarm[-1].names()
            assert trio.current_time() - started <= 0.3
            started = trio.current_time()
            first = await swarm[-1].registry.candidates(SKILL)
            assert trio.current_time() == started
            assert await swarm[-1].registry.candidates(SKILL) is first


async def test_a_node_is_its_own_candidate(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network, Member(1, [SKILL]).up(network) as alone:
        assert await alone.names() == [alone.peer_id]


async def test_a_new_node_is_usable_by_a_busy_client_within_5_s(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], []]) as (bootstrap, _, client):
            assert len(await client.names()) == 1
            async with Member(9, [SKILL]).up(network, bootstrap) as newcomer:
                await seconds_until(lambda: newcomer.peer_id in client.usable(), 5)
                assert newcomer.peer_id in await client.names()


async def test_without_a_dht_a_common_neighbour_passes_the_news_on(autojump_clock: MockClock) -> None:
    rarely = RegistrySettings(look_up_interval_s=10_000)
    async with MemoryNetwork(delay_s=0.01) as network:
        middle, client, newcomer = (
            Member(number, skills, settings=rarely, in_dht=False) for number, skills in ((1, []), (2, []), (3, [SKILL]))
        )
        async with middle.up(network), client.up(network, middle):
            with pytest.raises(UnavailableError):
                await client.names()
            async with newcomer.up(network, middle):
                await seconds_until(lambda: newcomer.peer_id in client.usable(), 5)


async def test_a_node_that_answers_with_anothers_advert_is_refused(autojump_clock: MockClock) -> None:
    async def answer(request: Request) -> bytes:
        return encode(signed(identity(6))[1])

    async with MemoryNetwork() as network:
        async with Member(1).up(network) as victim, network.node(identity(66).peer_id) as hostile:
            hostile.handle(METHOD_ADVERT, answer)
            hostile.add_addresses(victim.address)
            await hostile.connect(victim.peer_id, timeout_s=1)
            await trio.sleep(1)
            assert [known.advert.peer_id for known in victim.registry.known()] == [victim.peer_id]
            assert victim.refusals.counts == {Reason.ADVERT: 1}
            assert victim.registry.reasons.of_peer(hostile.peer_id).endswith(f"the advert of {identity(6).peer_id}")


async def test_a_skill_added_later_reaches_those_who_look_for_it(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], [], []]) as (_, _, later, client):
            await client.names()
            later.skills.append(SKILL)
            later.registry.skills_changed()
            await seconds_until(lambda: later.peer_id in client.usable(), 5)
            assert later.peer_id in await client.names()


async def test_a_changed_price_is_pushed_to_those_who_asked(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], []]) as (_, worker, client):
            await client.names()
            worker.price = 7

            def heard() -> bool:
                prices = [
                    known.advert.skills[0].price_microcredits
                    for known in client.registry.known()[1:]
                    if known.advert.skills
                ]
                return prices == [7]

            await seconds_until(heard, OWN_LOOK_S + 1)


async def test_a_killed_node_is_no_candidate_and_is_forgotten_after_three_refreshes(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, doomed, other, client):
            await client.names()
            network.kill(doomed.peer_id)
            client.registry.note_failure(doomed.peer_id, "the call failed")
            assert await client.names() == [other.peer_id]
            known = {known.advert.peer_id for known in client.registry.known()}
            assert doomed.peer_id in known
            await trio.sleep(185)
            assert doomed.peer_id not in {known.advert.peer_id for known in client.registry.known()}


async def test_a_node_that_stops_answering_without_a_reset_is_dropped_within_10_s(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, frozen, other, client):
            await client.names()
            network.cut(frozen.peer_id, client.peer_id)
            await seconds_until(lambda: frozen.peer_id not in client.usable(), 10)
            assert await client.names() == [other.peer_id]


async def test_a_node_that_comes_back_is_a_candidate_again(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], []]) as (_, worker, client):
            await client.names()
            network.kill(worker.peer_id)
            with pytest.raises(UnavailableError, match="answers now"):
                await client.names()
            network.revive(worker.peer_id)
            await seconds_until(lambda: worker.peer_id in client.usable(), 70)


async def test_a_false_alarm_costs_a_node_only_a_moment(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], []]) as (_, worker, client):
            await client.names()
            client.registry.note_failure(worker.peer_id, "one call failed")
            assert worker.peer_id not in client.usable()
            await seconds_until(lambda: worker.peer_id in client.usable(), 1)


def addresses_known_to(client: Member, member: Member) -> tuple[str, ...]:
    return client.registry.addresses_of(member.peer_id)


@pytest.mark.parametrize("in_use", [True, False])
async def test_a_node_whose_address_changes_is_found_at_the_new_one_within_10_s(
    in_use: bool, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[SKILL], [], []]) as (worker, client, idle):
            if in_use:
                await client.names()
            await trio.sleep(30)  # nobody is about to ask again
            network.move(worker.peer_id)
            new = worker.transport.addresses
            assert new != addresses_known_to(client, worker)
            await seconds_until(lambda: addresses_known_to(client, worker) == new, 10)
            await seconds_until(lambda: addresses_known_to(idle, worker) == new, 10)
            async with Member(9).up(network, worker) as newcomer:  # as with an invite of now
                assert await newcomer.names() == [worker.peer_id]
                assert addresses_known_to(newcomer, worker) == new


async def test_who_is_away_when_an_advert_changes_hears_of_it_when_it_is_back(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[SKILL], []]) as (worker, client):
            await client.names()
            await trio.sleep(1)
            link = network.link(worker.peer_id, client.peer_id)
            assert link is not None
            link.end("for a moment", lost=True)
            worker.skills.append("another")
            worker.registry.skills_changed()
            await seconds_until(lambda: "another" in client.registry.status()["skills"], 10)


async def test_who_looks_on_the_local_network_looks_anew_when_that_changes(autojump_clock: MockClock) -> None:
    announced: list[tuple[str, ...]] = []

    @asynccontextmanager
    async def lan(peer_id: PeerId, addresses: Sequence[str]) -> AsyncIterator[trio.MemoryReceiveChannel[PeerAddress]]:
        announced.append(tuple(addresses))
        if len(announced) == 1:
            raise UnavailableError("mDNS cannot start: the network is down")
        send, receive = trio.open_memory_channel[PeerAddress](1)
        with send, receive:
            yield receive

    async with MemoryNetwork() as network:
        async with Member(1, [SKILL], lan=lan).up(network) as member:
            await seconds_until(lambda: member.registry.problems(), 5)
            for moves in (1, 2):
                network.move(member.peer_id)
                await seconds_until(lambda moves=moves: len(announced) == moves + 1, 5)
                assert announced[-1] == member.transport.addresses
                assert member.registry.problems() == ()


async def test_who_could_not_be_reached_is_tried_at_once_in_another_network(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with Member(1).up(network) as first:
            network.kill(first.peer_id)
            async with Member(2).up(network, first) as second:
                await trio.sleep(200)  # attempts are rare now
                network.revive(first.peer_id)
                network.move(second.peer_id)
                await seconds_until(lambda: second.transport.connected(), 1)


async def test_nodes_in_use_stay_known_for_hours(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], []]) as (_, worker, client):
            for _ in range(24):
                assert await client.names() == [worker.peer_id]
                await trio.sleep(300)


async def test_an_unknown_skill_is_answered_with_the_nearest_name(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL], []]) as (_, _, client):
            await client.names()
            with pytest.raises(UnavailableError, match="did you mean text-embedding"):
                await client.names("text-embeding")


async def test_a_node_without_a_swarm_says_so_at_once(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network, Member(1).up(network) as alone:
        started = trio.current_time()
        with pytest.raises(UnavailableError, match="no other node is connected"):
            await alone.names()
        assert trio.current_time() == started


async def test_a_failed_bootstrap_is_reported_and_tried_until_it_works(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        bootstrap = Member(1, [SKILL])
        async with Member(2).up(network, bootstrap) as early:
            subjects = {problem.subject for problem in early.registry.problems()}
            assert f"join {bootstrap.peer_id}" in subjects
            with pytest.raises(UnavailableError, match="nobody listens there"):
                await early.names()
            async with bootstrap.up(network):
                await seconds_until(lambda: bootstrap.peer_id in early.usable(), 31)
                assert early.registry.problems() == ()
                assert await early.names() == [bootstrap.peer_id]


async def test_joining_oneself_is_named_as_the_mistake_it_is(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        mirror = Member(1)
        async with mirror.up(network, mirror):
            assert ["own address" in problem.text for problem in mirror.registry.problems()] == [True]


async def test_after_a_restart_remembered_peers_bring_a_node_back(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with members(network, [[], [SKILL]]) as (bootstrap, worker):
            client = Member(9)
            async with client.up(network, bootstrap):
                assert await client.names() == [worker.peer_id]
            assert {peer.peer_id for peer in client.peers.peers} == {bootstrap.peer_id, worker.peer_id}
            async with client.up(network):
                assert await client.names() == [worker.peer_id]


async def test_r1_sequence_numbers_grow_over_a_restart_even_if_the_clock_was_set_back(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork() as network:
        node = Member(1, [SKILL])
        async with node.up(network):
            before = (await node.registry.candidates(SKILL))[0].sequence
        node.ahead_s = -86_400
        async with node.up(network):
            assert (await node.registry.candidates(SKILL))[0].sequence > before


async def test_a_node_whose_clock_is_an_hour_ahead_is_refused_and_the_reason_is_kept(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        bootstrap = Member(1)
        wrong = Member(2, [SKILL], ahead_s=3600)
        async with bootstrap.up(network), wrong.up(network, bootstrap):
            await trio.sleep(1)
            assert bootstrap.usable() == {bootstrap.peer_id}
            assert bootstrap.refusals.counts[Reason.CLOCK] >= 1
            assert f"the clock of {wrong.peer_id} is 3600 s ahead of this node's" in bootstrap.registry.reasons.text()


@pytest.mark.parametrize(("ahead_s", "there"), [(1000, "behind"), (-1000, "ahead of"), (86_400, "behind")])
async def test_a_wrong_clock_is_told_on_both_sides_with_difference_and_peer(
    autojump_clock: MockClock, ahead_s: int, there: str
) -> None:
    async with MemoryNetwork() as network:
        right, wrong = Member(1, [SKILL]), Member(2, ["other"], ahead_s=ahead_s)
        async with right.up(network), wrong.up(network, right):
            await trio.sleep(1)
            here = "ahead of" if ahead_s > 0 else "behind"
            for node, peer, words in ((right, wrong, here), (wrong, right, there)):
                (problem,) = [one for one in node.registry.problems() if one.subject == "clock"]
                assert f"the clock of {peer.peer_id} is {abs(ahead_s)} s {words} this node's" in problem.text
            for node, skill in ((right, "other"), (wrong, SKILL)):
                if skill in node.registry.status()["skills"]:
                    continue  # up to its lifetime, an advert from the past is still believed
                with pytest.raises(UnavailableError, match=f"{abs(ahead_s)} s (ahead of|behind) this node's"):
                    await node.names(skill)


async def test_when_a_wrong_clock_is_set_both_sides_know_each_other_and_nothing_is_told_any_more(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork() as network:
        right, wrong = Member(1, [SKILL]), Member(2, [SKILL], ahead_s=86_400)
        async with right.up(network), wrong.up(network, right):
            await seconds_until(lambda: len(right.registry.problems()) + len(wrong.registry.problems()) == 2, 5)
            assert (right.usable(), wrong.usable()) == ({right.peer_id}, {wrong.peer_id})
            wrong.clock.ahead_s = 0
            both = {right.peer_id, wrong.peer_id}
            await seconds_until(lambda: right.usable() == wrong.usable() == both, 20)
            assert not [*right.registry.problems(), *wrong.registry.problems()]


async def test_the_clock_that_differs_from_all_others_is_the_wrong_one(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        first, second, third, wrong = (Member(number, ahead_s=4000 * (number == 4)) for number in (1, 2, 3, 4))
        async with first.up(network), second.up(network, first), third.up(network, first, second):
            async with wrong.up(network, first, second, third):
                await trio.sleep(1)
                assert "this node's clock is 4000 s ahead of those of all 3 nodes" in wrong.registry.reasons.text()
                assert "2 others agree with this node: it is wrong there" in first.registry.reasons.text()


async def test_a_node_hears_that_another_signs_adverts_with_its_key(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        node, friend = Member(1, [SKILL]), Member(2)
        async with node.up(network), friend.up(network, node):
            await trio.sleep(1)
            assert not node.refusals.counts
            ahead = node.registry.known()[0].advert.sequence + 1
            request = encode(AdvertRequest(NOW_UNIX_S, ahead))
            await friend.transport.call(node.peer_id, METHOD_ADVERT, request, timeout_s=1)
            (problem,) = node.registry.problems()
            assert problem.subject == Reason.TWIN
            assert f"{friend.peer_id} says that it knows an advert of this node's key" in problem.text


async def test_a_node_of_an_older_version_says_neither_its_time_nor_what_it_knows(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        node = Member(1, [SKILL], ahead_s=5000)
        async with node.up(network), network.node(identity(66).peer_id) as older:
            older.add_addresses(node.address)
            answer = await older.call(node.peer_id, METHOD_ADVERT, b"\x91\x01", timeout_s=1)
            assert decode(SignedAdvert, answer).advert
            assert not node.registry.problems()


@pytest.mark.parametrize("payload", [b"", b"\xc1", encode(Push(SignedAdvert(b"\x91\x01", b"\0" * 64)))])
async def test_hostile_pushes_change_nothing(autojump_clock: MockClock, payload: bytes) -> None:
    async with MemoryNetwork() as network:
        async with Member(1).up(network) as victim, network.node(identity(66).peer_id) as hostile:
            hostile.add_addresses(victim.address)
            with suppress(SwarmError):  # what the caller is told does not matter here
                await hostile.call(victim.peer_id, METHOD_PUSH, payload, timeout_s=1)
            await trio.sleep(1)
            assert victim.usable() == {victim.peer_id}


async def test_a_replayed_old_advert_does_not_bring_back_an_old_price(autojump_clock: MockClock) -> None:
    worker = identity(5)
    async with MemoryNetwork() as network:
        async with Member(1).up(network) as victim, network.node(worker.peer_id) as hostile:
            hostile.add_addresses(victim.address)
            for sequence, skills in ((8, (SKILL,)), (7, ("ocr",))):
                _, wire = signed(worker, advert(worker, skills, sequence=sequence, issued_unix_s=NOW_UNIX_S))
                await hostile.call(victim.peer_id, METHOD_PUSH, encode(Push(wire)), timeout_s=1)
            known = {known.advert.peer_id: known.advert.sequence for known in victim.registry.known()}
            assert known[worker.peer_id] == 8


async def test_a_flood_of_pushes_is_refused(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        async with Member(1).up(network) as victim, network.node(identity(66).peer_id) as hostile:
            hostile.add_addresses(victim.address)
            refused = 0
            for number in range(100):
                _, wire = signed(identity(1000 + number))
                try:
                    await hostile.call(victim.peer_id, METHOD_PUSH, encode(Push(wire)), timeout_s=1)
                except SwarmError as error:
                    refused += "too many" in str(error)
            assert refused == 36


async def test_thirty_percent_dead_nodes_do_not_delay_a_look_up(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], *[[SKILL]] * 10, []]) as swarm:
            for member in swarm[1:4]:
                network.kill(member.peer_id)
            started = trio.current_time()
            alive = {member.peer_id for member in swarm[4:11]}
            assert set(await swarm[-1].names()) <= alive
            assert trio.current_time() - started <= 2


async def test_join_reports_each_failure_to_its_caller(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network, Member(1).up(network) as node, Member(2).up(network) as other:
        nowhere = PeerAddress(PeerId(identity(77).peer_id), ("/memory/nowhere",))
        outcome = await node.registry.join_peers([other.address, nowhere])
        assert outcome[other.peer_id] is None
        assert isinstance(outcome[nowhere.peer_id], PeerLostError)


async def test_with_a_short_refresh_period_everything_still_holds(autojump_clock: MockClock) -> None:
    quick = RegistrySettings(refresh_s=2)
    async with MemoryNetwork() as network:
        first, worker = Member(1, settings=quick), Member(2, [SKILL], settings=quick)
        async with first.up(network), worker.up(network, first):
            assert await first.names() == [worker.peer_id]
            await trio.sleep(60)
            assert await first.names() == [worker.peer_id]
            network.kill(worker.peer_id)
            await trio.sleep(7)
            assert worker.peer_id not in {known.advert.peer_id for known in first.registry.known()}


async def test_a_node_that_stops_serving_is_no_candidate_at_once_and_one_again_when_it_resumes(
    autojump_clock: MockClock,
) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, first, second, client):
            assert await client.names() == sorted([first.peer_id, second.peer_id])
            first.not_serving = "paused"
            first.registry.skills_changed()
            await seconds_until(lambda: len(client.registry._known_candidates(SKILL)) == 1, 0.5)
            assert await client.names() == [second.peer_id]
            (away,) = [known for known in client.registry.known() if known.advert.peer_id == first.peer_id]
            assert (away.usable, away.advert.not_serving_text) == (True, "its owner paused it")
            assert await first.names() == sorted([first.peer_id, second.peer_id]), "its own user may use it"
            first.not_serving = ""
            first.registry.skills_changed()
            await seconds_until(lambda: len(client.registry._known_candidates(SKILL)) == 2, 0.5)


async def test_when_nobody_serves_the_reason_is_given_and_the_search_goes_on(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], []]) as (_, worker, client):
            assert await client.names() == [worker.peer_id]
            worker.not_serving = "battery"
            worker.registry.skills_changed()
            await seconds_until(lambda: any(known.advert.not_serving for known in client.registry.known()), 5)
            with pytest.raises(UnavailableError, match=r"no node serves 'text-embedding' now: it saves its battery"):
                await client.names()
            worker.not_serving = ""
            worker.registry.skills_changed()
            await seconds_until(lambda: len(client.registry._known_candidates(SKILL)) == 1, 0.5)


async def test_nobody_is_sent_to_a_node_that_does_not_serve(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[SKILL], [SKILL]]) as (paused, asked):
            paused.not_serving = "schedule"
            paused.registry.skills_changed()
            await seconds_until(lambda: any(known.advert.not_serving for known in asked.registry.known()), 5)
            newcomer = Member(9)
            async with newcomer.up(network, asked):
                await newcomer.names()
                assert paused.peer_id not in {known.advert.peer_id for known in newcomer.registry.known()}
