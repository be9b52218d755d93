from __future__ import annotations

from swarmharness.jobs.messages import Output
from swarmharness.jobs.verification.known import ITEM_BYTES_MAX, ITEMS_MAX, SEEN_MAX, SKILLS_MAX, KnownAnswers
from swarmharness.registry.models import model_key

KEY = (model_key("skill", bytes(32)), b"")


def test_a_known_item_goes_once_to_each_peer_that_has_not_seen_it() -> None:
    known = KnownAnswers()
    assert known.add(KEY, b"item", Output(b"answer", ""), seen=("a", "b"), certain=False)
    assert known.take(KEY, "a", 0) is None
    taken = known.take(KEY, "c", 5)
    assert taken is not None
    assert (taken.item, taken.output.data) == (b"item", b"answer")
    assert known.take(KEY, "c", 5) is None
    assert known.take((model_key("skill", bytes(31) + b"x"), b""), "d", 0) is None
    assert known.take((model_key("skill", bytes(32)), b"told something"), "d", 0) is None


def test_what_is_kept_is_bounded() -> None:
    known = KnownAnswers()
    for number in range(ITEMS_MAX + 5):
        known.add(KEY, str(number).encode(), Output(b"a", ""), seen=(), certain=True)
    assert len(known) == ITEMS_MAX
    for number in range(SKILLS_MAX + 5):
        key = (model_key(f"skill {number}", bytes(32)), b"")
        known.add(key, b"i", Output(b"a", ""), seen=(), certain=True)
    assert len(known) <= ITEMS_MAX + SKILLS_MAX
    assert not known.add(KEY, bytes(ITEM_BYTES_MAX + 1), Output(b"a", ""), seen=(), certain=True)
    assert not known.add(KEY, b"i", Output(b"", "an error"), seen=(), certain=True)


def test_an_item_that_many_have_seen_is_used_no_more() -> None:
    known = KnownAnswers()
    known.add(KEY, b"item", Output(b"a", ""), seen=(), certain=True)
    for number in range(SEEN_MAX):
        assert known.take(KEY, f"peer {number}", 0) is not None
    assert known.take(KEY, "another", 0) is None
