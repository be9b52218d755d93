from __future__ import annotations

from swarmharness.refusals import KEPT_US, RECENT_MAX, TEXT_CHARS_MAX, Reason, Refusals


class Hand:
    now_us = 0

    def __call__(self) -> int:
        return self.now_us


def test_a_refusal_without_a_text_is_only_counted() -> None:
    refusals = Refusals()
    refusals.note("frame")
    refusals.note("frame", "a")
    assert refusals.counts == {"frame": 2}
    assert refusals.recent() == ()


def test_the_last_one_of_a_reason_and_peer_is_kept_with_how_often_and_since_when() -> None:
    now = Hand()
    refusals = Refusals(now)
    refusals.note(Reason.CLOCK, "a", "first", clock_ahead_s=7)
    now.now_us = 5_000_000
    refusals.note(Reason.CLOCK, "a", "second\nline", clock_ahead_s=8)
    refusals.note(Reason.ACCESS, "b", "x" * 999)
    now.now_us = 9_000_000
    second, first = refusals.rows(1_000)
    assert first == {
        "reason": "clock",
        "peer": "a",
        "text": "second line",
        "count": 2,
        "since_unix_s": 991,
        "last_unix_s": 996,
        "clock_ahead_s": 8,
    }
    assert len(second["text"]) == TEXT_CHARS_MAX
    assert [one.peer_id for one in refusals.recent({Reason.ACCESS})] == ["b"]


def test_what_a_peer_wrote_reaches_no_terminal_as_it_is() -> None:
    refusals = Refusals()
    refusals.note(Reason.ADVERT, "a", "the advert of \x1b[2J\u202e is late\n")
    assert refusals.rows(0)[0]["text"] == "the advert of ?[2J? is late"


def test_what_is_solved_or_an_hour_old_is_told_no_more_and_stays_counted() -> None:
    now = Hand()
    refusals = Refusals(now)
    refusals.note(Reason.CLOCK, "a", "text")
    refusals.note(Reason.CLOCK, "b", "text")
    assert refusals.solved(Reason.CLOCK, "a")
    assert not refusals.solved(Reason.CLOCK, "a")
    assert [one.peer_id for one in refusals.recent()] == ["b"]
    now.now_us = KEPT_US
    assert refusals.recent() == ()
    assert refusals.counts == {"clock": 2}


def test_a_crowd_pushes_out_the_oldest_and_nothing_grows() -> None:
    refusals = Refusals()
    for number in range(3 * RECENT_MAX):
        refusals.note(Reason.ADVERT, str(number), "text")
    assert [one.peer_id for one in refusals.recent()] == [
        str(number) for number in range(3 * RECENT_MAX - 1, 2 * RECENT_MAX - 1, -1)
    ]
