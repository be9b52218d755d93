from __future__ import annotations

import hashlib

import pytest

from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.spread import neighbourhood
from swarmharness.credit.spread.key_index import HIGHEST, LOWEST, key_of
from swarmharness.credit.spread.neighbourhood import (
    FOLLOWED_MAX,
    INDEXES_MAX,
    Neighbourhood,
    Scope,
    place_of,
    scope_name,
    short_id,
    short_ids,
    split_ids,
)
from swarmharness.credit.spread.ranges import ID_BYTES

NOW = 500_000


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def near(*pairs: tuple[str, str], epoch: int = NOW) -> Neighbourhood:
    made = Neighbourhood("me", NOW)
    for number, (requester, worker) in enumerate(pairs):
        assert made.add(epoch, digest(number), requester, worker)
    return made


def built(of: Neighbourhood, scope: Scope) -> list[bytes]:
    for _ in of.build(scope, at_once=2):
        pass
    index = of.index(scope)
    assert index is not None
    return index.keys()


def test_receipts_of_this_node_and_of_whom_it_follows_are_wanted_and_no_others_c_19() -> None:
    node = near(("me", "ann"), ("bob", "me"))
    assert node.interests() == {"me", "ann", "bob"}
    assert node.wants("me", "zoe")
    assert node.wants("zoe", "ann")
    assert not node.wants("zoe", "yan")
    node.add(NOW, digest(9), "ann", "zoe")  # a partner's partner is no partner
    assert not node.wants("zoe", "yan")


def test_of_many_partners_the_nearest_are_followed_in_whatever_order_they_came_c_19() -> None:
    names = [f"peer-{number}" for number in range(4 * FOLLOWED_MAX)]
    one, other = near(*[("me", name) for name in names]), near(*[(name, "me") for name in reversed(names)])
    assert one.followed == other.followed
    assert len(one.followed) == FOLLOWED_MAX
    farthest = max(place_of(name) ^ place_of("me") for name in one.followed)
    assert all(place_of(name) ^ place_of("me") > farthest for name in names if name not in one.followed)


def test_receipts_of_the_work_for_whoever_worked_here_are_wanted_though_nobody_follows_it_c_19() -> None:
    names = [f"peer-{number}" for number in range(4 * FOLLOWED_MAX)]
    node = near(*[("me", name) for name in names])
    stranger = next(name for name in names if name not in node.followed)
    assert node.wants(stranger, "zoe")
    assert not node.wants("zoe", stranger)
    asker = near(*[(name, "me") for name in names])
    assert not asker.wants(stranger, "zoe")  # they did no work for it, so no flow leads through them


def test_the_newest_receipts_of_the_own_work_are_named_c_21() -> None:
    node = near(("ann", "me"), ("bob", "me"), ("me", "ann"), ("zoe", "ann"))
    node.add(NOW + 1, digest(8), "ann", "me")
    wanted = frozenset({short_id("ann"), short_id("zoe")})
    assert node.earned(wanted, 9) == [digest(8), digest(0)]
    assert node.earned(wanted, 1) == [digest(8)]
    node.advance(NOW + HORIZON_EPOCHS)
    assert node.earned(wanted, 9) == [digest(8)]


def test_a_receipt_counts_once_and_not_beyond_the_horizon() -> None:
    node = near(("me", "ann"))
    assert not node.add(NOW, digest(0), "me", "ann")
    assert not node.add(NOW - HORIZON_EPOCHS, digest(1), "me", "ann")
    assert node.knows(NOW, digest(0))
    assert len(node) == 1
    assert [node.is_due(NOW + age) for age in (-HORIZON_EPOCHS, 1 - HORIZON_EPOCHS, 0, 1, 2)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_partners_are_forgotten_when_their_last_receipt_expires_c_8() -> None:
    node = near(("me", "ann"))
    node.add(NOW + 1, digest(1), "bob", "me")
    node.add(NOW, digest(2), "ann", "zoe")
    node.advance(NOW + HORIZON_EPOCHS)
    assert node.interests() == {"me", "bob"}
    assert len(node) == 1
    node.advance(NOW)  # a clock that is set back revives nothing
    assert node.epoch == NOW + HORIZON_EPOCHS


def test_an_index_holds_the_receipts_of_its_scope_and_is_kept_up_to_date() -> None:
    node = near(("me", "ann"), ("bob", "me"), ("ann", "zoe"))
    scope = frozenset({"ann"})
    assert node.index(scope) is None
    assert built(node, scope) == sorted([key_of(NOW, digest(0)), key_of(NOW, digest(2))])
    node.add(NOW, digest(3), "zoe", "ann")
    node.add(NOW, digest(4), "bob", "me")
    index = node.index(scope)
    assert index is not None
    assert key_of(NOW, digest(3)) in index
    assert len(index) == 3


def test_what_comes_or_expires_while_an_index_is_made_is_not_lost_in_it() -> None:
    node = near(*[("me", "ann")] * 6, epoch=NOW - HORIZON_EPOCHS + 1)
    scope = frozenset({"ann"})
    one, other = node.build(scope, at_once=2), node.build(scope, at_once=2)
    next(one), next(other)
    node.add(NOW, digest(50), "me", "ann")
    list(one)
    node.add(NOW + 1, digest(51), "me", "ann")
    node.advance(NOW + 1)
    list(other)
    index = node.index(scope)
    assert index is not None
    assert index.keys() == [key_of(NOW, digest(50)), key_of(NOW + 1, digest(51))]
    assert index.summary(LOWEST, HIGHEST).count == 2


def test_an_index_that_lags_far_behind_is_brought_up_to_date_in_steps() -> None:
    node = near(("me", "ann"))
    scope = frozenset({"ann"})
    built(node, scope)
    for number in range(1, 1_000):
        node.add(NOW + number % 2, digest(number), "ann", "zoe")
    assert node.index(scope) is None
    steps = node.build(scope)
    next(steps)
    node.add(NOW, digest(1_000), "ann", "zoe")
    node.advance(NOW + HORIZON_EPOCHS)
    list(steps)
    index = node.index(scope)
    assert index is not None
    assert index.keys() == sorted(key_of(NOW + 1, digest(number)) for number in range(1, 1_000, 2))


def test_only_so_many_indexes_are_kept() -> None:
    node = near(*[("me", f"peer-{number}") for number in range(INDEXES_MAX + 2)])
    scopes = [frozenset({f"peer-{number}"}) for number in range(INDEXES_MAX + 2)]
    for scope in scopes:
        built(node, scope)
    assert [node.index(scope) is None for scope in scopes[:3]] == [True, True, False]


def test_receipts_are_found_by_their_ids() -> None:
    node = near(("me", "ann"), ("me", "ann"))
    scope = frozenset({"me"})
    keys = built(node, scope)
    index = node.index(scope)
    assert index is not None
    asked = [keys[1][:ID_BYTES], b"\x00" * ID_BYTES, b"\xff" * ID_BYTES]
    assert node.digests(index, asked) == [keys[1][4:]]


def test_a_signer_that_has_too_many_receipts_here_is_full_but_not_with_this_node_c_20(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbourhood, "SIGNER_RECEIPTS_MAX", 2)
    node = near(("me", "ann"), ("ann", "zoe"), ("ann", "yan"))
    assert node.is_full("ann", "bob")
    assert node.is_full("bob", "ann")
    assert not node.is_full("me", "ann")
    assert not node.is_full("zoe", "bob")


def test_both_sides_name_a_shared_scope_alike() -> None:
    mine, theirs = near(("me", "ann"), ("me", "bob")), Neighbourhood("ann", NOW)
    for number, partner in enumerate(("me", "zoe")):
        theirs.add(NOW, digest(number), partner, "ann")
    one = mine.shared_scope(split_ids(short_ids(theirs.interests())))
    other = theirs.shared_scope(split_ids(short_ids(mine.interests())))
    assert one == other == {"me", "ann"}
    assert scope_name(one) == scope_name(other) != scope_name(frozenset({"me"}))
    assert split_ids(short_id("x") + b"rest") == {short_id("x")}
