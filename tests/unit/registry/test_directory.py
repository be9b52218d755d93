from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from swarmharness.errors import RefusedError
from swarmharness.identity import Identity
from swarmharness.registry.advert import Advert
from swarmharness.registry.directory import Directory, DirectorySettings
from swarmharness.registry.entry import Learned
from swarmharness.registry.settings import RegistrySettings
from tests.unit.registry.samples import NOW_UNIX_S, advert, identity, offer, signed

S = 1_000_000
SKILL = "text-embedding"
ALICE, BOB, CAROL = identity(1), identity(2), identity(3)


def learn(
    directory: Directory, signer: Identity, now_us: int, *, direct: bool = True, of: Advert | None = None
) -> Learned:
    body, wire = signed(signer, of)
    expires_us = now_us + (body.expires_unix_s - NOW_UNIX_S) * S
    return directory.learn(body, wire, direct=direct, now_us=now_us, due_us=now_us + 50 * S, expires_us=expires_us)


def peers(directory: Directory, skill: str = SKILL) -> list[str]:
    return [candidate.peer_id for candidate in directory.candidates(skill)]


def test_a_node_that_answered_for_itself_is_a_candidate() -> None:
    directory = Directory()
    assert learn(directory, ALICE, 0) is Learned.NEW
    assert peers(directory) == [ALICE.peer_id]
    assert peers(directory, "ocr") == []


def test_a_node_that_others_speak_of_is_no_candidate_until_it_answers() -> None:
    directory = Directory()
    learn(directory, ALICE, 0, direct=False)
    assert peers(directory) == []
    assert learn(directory, ALICE, 1) is Learned.NEW
    assert peers(directory) == [ALICE.peer_id]


def test_r1_a_lower_sequence_number_never_replaces_a_higher_one() -> None:
    directory = Directory()
    learn(directory, ALICE, 0, of=advert(ALICE, sequence=7))
    with pytest.raises(RefusedError, match="7 is known already"):
        learn(directory, ALICE, 1, of=advert(ALICE, ("ocr",), sequence=6))
    assert directory.candidates(SKILL)[0].sequence == 7


def test_r1_a_lower_sequence_number_is_refused_after_eviction_too() -> None:
    directory = Directory()
    learn(directory, ALICE, 0, of=advert(ALICE, sequence=7))
    assert directory.evict(181 * S) == (ALICE.peer_id,)
    with pytest.raises(RefusedError, match="7 is known already"):
        learn(directory, ALICE, 182 * S, of=advert(ALICE, sequence=6))


def test_two_adverts_with_one_number_are_refused() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    with pytest.raises(RefusedError, match="two adverts"):
        learn(directory, ALICE, 1, of=advert(ALICE, ("ocr",)))


def test_the_same_advert_again_is_a_refresh() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    assert learn(directory, ALICE, 100 * S) is Learned.REFRESHED
    assert directory.evict(181 * S) == ()


def test_a_skill_that_a_node_gave_up_is_no_longer_found() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    assert learn(directory, ALICE, 1, of=advert(ALICE, ("ocr",), sequence=2)) is Learned.CHANGED
    assert peers(directory) == []
    assert peers(directory, "ocr") == [ALICE.peer_id]
    assert directory.skills() == ("ocr",)


def test_a_failure_ends_candidacy_until_the_next_answer() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    directory.failed(ALICE.peer_id, "refused", now_us=1 * S)
    assert peers(directory) == []
    assert not directory.worth_asking(ALICE.peer_id, 1 * S)
    assert directory.worth_asking(ALICE.peer_id, 2 * S)
    learn(directory, ALICE, 3 * S)
    assert peers(directory) == [ALICE.peer_id]


def test_back_off_doubles_up_to_the_refresh_period() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    waits = []
    for _ in range(8):
        directory.failed(ALICE.peer_id, "gone", now_us=0)
        entry = directory.get(ALICE.peer_id)
        assert entry is not None
        waits.append(entry.due_us // S)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_lost_connection_is_a_suspicion_to_be_checked_at_once() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    directory.suspect(ALICE.peer_id, "reset", now_us=5 * S)
    assert peers(directory) == []
    assert directory.due(5 * S, connected={ALICE.peer_id}, limit=9) == (ALICE.peer_id,)


def test_whose_connection_ended_is_kept_for_three_refresh_periods_however_long_ago_it_was_asked() -> None:
    directory = Directory()
    learn(directory, ALICE, 0, of=advert(ALICE, lifetime_s=86_000))
    assert directory.evict(1000 * S, connected={ALICE.peer_id}) == ()
    directory.suspect(ALICE.peer_id, "reset", now_us=1000 * S)
    assert directory.evict(1179 * S) == ()
    assert directory.evict(1180 * S) == (ALICE.peer_id,)


def test_silence_for_three_refresh_periods_evicts() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    for now_s in range(1, 180):
        directory.failed(ALICE.peer_id, "gone", now_us=now_s * S)
        assert directory.evict(now_s * S) == ()
    assert directory.evict(180 * S) == (ALICE.peer_id,)
    assert directory.get(ALICE.peer_id) is None


def test_an_expired_advert_leaves() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    assert directory.evict(480 * S, connected={ALICE.peer_id}) == ()
    assert directory.evict(481 * S, connected={ALICE.peer_id}) == (ALICE.peer_id,)
    assert peers(directory) == []


def test_only_nodes_that_are_connected_or_in_use_are_refreshed() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    learn(directory, BOB, 0, of=advert(BOB, ("ocr",)))
    assert directory.due(50 * S, connected=(), limit=9) == ()
    assert directory.due(50 * S, connected={BOB.peer_id}, limit=9) == (BOB.peer_id,)
    directory.use(SKILL, 0)
    assert directory.due(50 * S - 1, connected=(), limit=9) == ()
    assert directory.due(50 * S, connected=(), limit=9) == (ALICE.peer_id,)
    assert directory.due(601 * S, connected=(), limit=9) == ()


def test_at_most_so_many_nodes_are_kept_for_a_skill_and_those_known_first_stay() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=3))
    for number in range(3):
        learn(directory, identity(number), number)
    with pytest.raises(RefusedError, match="full"):
        learn(directory, identity(3), 3)
    assert peers(directory) == sorted(identity(number).peer_id for number in range(3))


def test_a_node_that_answers_takes_the_place_of_one_that_does_not() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=2))
    learn(directory, ALICE, 0)
    learn(directory, BOB, 1)
    directory.failed(ALICE.peer_id, "gone", now_us=2)
    learn(directory, identity(3), 3)
    assert peers(directory) == sorted([BOB.peer_id, identity(3).peer_id])
    assert directory.get(ALICE.peer_id) is None


def test_rumours_never_displace_a_node_that_answered() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=8, peers_max=4))
    learn(directory, ALICE, 0)
    for number in range(10, 30):
        try:
            learn(directory, identity(number), number, direct=False)
        except RefusedError:
            continue
    assert peers(directory) == [ALICE.peer_id]
    assert len(directory) <= 4


def test_a_node_with_a_rare_skill_stays_when_its_common_one_is_full() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=1))
    learn(directory, ALICE, 0)
    learn(directory, BOB, 1, of=advert(BOB, (SKILL, "ocr")))
    assert peers(directory) == [ALICE.peer_id]
    assert peers(directory, "ocr") == [BOB.peer_id]


def test_a_peer_that_was_never_reached_is_not_asked_again_at_once() -> None:
    directory = Directory()
    directory.failed(ALICE.peer_id, "refused", now_us=0)
    directory.failed(ALICE.peer_id, "refused", now_us=1 * S)
    assert not directory.worth_asking(ALICE.peer_id, 2 * S)
    assert directory.worth_asking(ALICE.peer_id, 3 * S)
    assert directory.get(ALICE.peer_id) is None


def test_candidates_are_the_same_object_until_something_changes() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    first = directory.candidates(SKILL)
    assert directory.candidates(SKILL) is first
    learn(directory, BOB, 0, of=advert(BOB, ("ocr",)))
    assert directory.candidates(SKILL) is first
    learn(directory, BOB, 1, of=advert(BOB, (SKILL,), sequence=2))
    assert directory.candidates(SKILL) is not first


def test_what_tells_nothing_new_of_a_candidate_leaves_the_same_object() -> None:
    directory = Directory()
    learn(directory, ALICE, 0)
    first = directory.candidates(SKILL)
    learn(directory, ALICE, 1)
    learn(directory, BOB, 2, direct=False)
    assert directory.candidates(SKILL) is first
    directory.suspect(ALICE.peer_id, "lost", now_us=3)
    assert peers(directory) == []
    learn(directory, ALICE, 4)
    assert peers(directory) == [ALICE.peer_id]


def test_where_every_place_has_a_usable_node_rumours_are_refused() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=1))
    learn(directory, ALICE, 0)
    with pytest.raises(RefusedError, match="full of nodes more useful"):
        learn(directory, BOB, 1, direct=False)
    directory.suspect(ALICE.peer_id, "lost", now_us=2)
    learn(directory, CAROL, 3)
    assert peers(directory) == [CAROL.peer_id]


def test_a_node_is_lacking_only_for_a_skill_in_use_without_enough_nodes() -> None:
    directory = Directory(DirectorySettings(enough=1))
    assert not directory.lacks(advert(ALICE), 0)
    directory.use(SKILL, 0)
    assert directory.lacks(advert(ALICE), 0)
    assert not directory.lacks(advert(ALICE, ("ocr",)), 0)
    learn(directory, BOB, 0)
    assert not directory.lacks(advert(ALICE), 0)


def test_a_node_that_may_remember_few_knows_enough_when_it_remembers_those() -> None:
    """Found by `simulate --random 16`: with room for 2 of 8 it searched for 24 for ever, and never was at peace."""
    assert RegistrySettings(peers_per_skill_max=2).directory.enough == 2
    assert RegistrySettings(enough_peers=5).directory.enough == 5


def test_adverts_of_ten_thousand_nodes_fill_what_is_bounded_and_no_more() -> None:
    directory = Directory(DirectorySettings(peers_per_skill_max=8, peers_max=16))
    body, envelope = signed(identity(1))
    for number in range(10_000):
        skills = (offer(f"skill-{number}"), offer(f"other-{number}"))
        told = replace(body, peer_id=f"peer-{number}", skills=skills)
        with suppress(RefusedError):
            directory.learn(
                told, envelope, direct=False, now_us=number, due_us=number, expires_us=number + 1_000_000_000
            )
    assert len(directory) == 16
    assert len(directory.skills()) == 32
    assert sum(bool(directory.highest(f"peer-{number}")) for number in range(10_000)) <= 8 * 16
