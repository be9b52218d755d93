from __future__ import annotations

from swarmharness.network.kad_search import ALPHA, ROUNDS_MAX, KadSearch
from swarmharness.network.kad_table import K, nearest

OWN, KEY = bytes(38), b"\x07" * 32


def peers(count: int, start: int = 1) -> list[bytes]:
    return [number.to_bytes(38, "big") for number in range(start, start + count)]


def run(search: KadSearch, answers: dict[bytes, list[bytes]]) -> list[list[bytes]]:
    """Play a search among peers that answer so; whoever is not among them does not answer."""
    rounds = []
    while batch := search.next_round():
        rounds.append(batch)
        for peer in batch:
            if peer in answers:
                search.answered(peer, answers[peer])
            else:
                search.no_answer(peer)
    return rounds


def test_the_nearest_of_a_swarm_are_found_from_one_of_it() -> None:
    swarm = peers(300)
    answers = {peer: nearest((one for one in swarm if one != peer), KEY) for peer in swarm}
    search = KadSearch(OWN, KEY, swarm[:1])
    run(search, answers)
    assert search.result()[0] == nearest(swarm, KEY)[0]
    assert set(search.result()) == set(nearest(swarm, KEY))


def test_nobody_is_asked_twice_nor_more_than_so_many_at_a_time() -> None:
    swarm = peers(300)
    answers = {peer: nearest((one for one in swarm if one != peer), peer) for peer in swarm}
    rounds = run(KadSearch(OWN, KEY, swarm[:40]), answers)
    asked = [peer for batch in rounds for peer in batch]
    assert len(asked) == len(set(asked))
    assert max(map(len, rounds)) == ALPHA


def test_peers_that_are_not_there_are_left_out_however_near_they_are() -> None:
    everybody = nearest(peers(1_000), KEY, 1_000)
    ghosts, swarm = everybody[:200], everybody[200:260]
    liar, honest = swarm[0], swarm[1:]
    answers = {peer: nearest(honest, KEY) for peer in honest} | {liar: ghosts[:K]}
    search = KadSearch(OWN, KEY, [liar, *honest[:12]])
    run(search, answers)
    assert set(search.result()) & set(ghosts) == set()
    assert honest[0] in search.result()


def test_while_peers_that_are_not_there_are_waited_for_there_is_a_result_without_them() -> None:
    everybody = nearest(peers(1_000), KEY, 1_000)
    ghosts, liar, honest = everybody[:ALPHA], everybody[200], everybody[201:260]
    search = KadSearch(OWN, KEY, [liar, *honest[:9]])
    for peer in search.next_round():
        search.answered(peer, ghosts if peer == liar else nearest(honest, KEY))
    assert search.next_round()
    assert search.result()[:ALPHA] == [liar, *honest[:9]]
    assert set(search.result()) & set(ghosts) == set()


def test_those_that_many_have_named_are_asked_before_those_that_one_has_named() -> None:
    everybody = nearest(peers(100), KEY, 100)
    namers, alone, others = everybody[90:], everybody[:8], everybody[8:20]
    search = KadSearch(OWN, KEY, namers)
    for number, peer in enumerate(search.next_round()):
        search.answered(peer, alone if number == 0 else others[number : number + 2])
    chosen = search.next_round()
    assert sum(peer in alone for peer in chosen) == 3


def test_a_search_that_is_given_ever_nearer_ones_ends() -> None:
    everybody = nearest(peers(3_000), KEY, 3_000)
    search = KadSearch(OWN, KEY, [everybody[-1]])
    number = len(everybody)
    while batch := search.next_round():
        for peer in batch:
            number -= K
            search.answered(peer, everybody[max(0, number - K) : max(0, number)])
    assert search.rounds <= ROUNDS_MAX


def test_the_seeker_itself_is_never_asked() -> None:
    search = KadSearch(OWN, KEY, [OWN, *peers(1)])
    assert search.next_round() == peers(1)
    search.answered(peers(1)[0], [OWN])
    assert search.next_round() == []
    assert OWN not in search.result()


def test_those_that_answered_come_first() -> None:
    search = KadSearch(OWN, KEY, peers(15))
    asked = search.next_round()
    for peer in asked:
        search.answered(peer, [])
    assert set(search.result()[:ALPHA]) == set(asked)
    assert set(search.result()) == set(peers(15))
