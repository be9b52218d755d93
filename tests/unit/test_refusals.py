from __future__ import annotations

from swarmharness.attacks import KEPT_US, Action
from swarmharness.network.limits import Drop
from swarmharness.network.stream_places import StreamDrop
from swarmharness.network.yamux_node import MuxerFault
from swarmharness.refusals import ACTIONS, MILD, OTHER, REASONS_MAX, RECENT_MAX, TEXT_CHARS_MAX, Reason, Refusals, Tally


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


def test_a_crowd_with_one_reason_has_no_room_of_others() -> None:
    refusals = Refusals()
    refusals.note(Reason.TWIN, "", "two nodes")
    for number in range(3 * RECENT_MAX):
        refusals.note(Reason.HELLO, str(number), "text")
    assert len(refusals.recent()) == RECENT_MAX
    assert len(refusals.recent({Reason.TWIN})) == 1


def test_reasons_that_are_too_many_are_counted_together() -> None:
    refusals = Refusals()
    for number in range(2 * REASONS_MAX):
        refusals.note(f"reason {number}")
    refusals.note("reason 0")
    assert refusals.counts["reason 0"] == 2
    assert refusals.counts[OTHER] == REASONS_MAX
    assert len(refusals.counts) == REASONS_MAX + 1


def test_a_refusal_concerns_a_peer_or_an_address_or_nobody_and_says_what_was_done() -> None:
    now = Hand()
    refusals = Refusals(now)
    for _ in range(20):
        refusals.note("frame", "a")
        refusals.note("connection: no hello", host="192.0.2.7")
        refusals.note("oversized", "b")
        refusals.note("pings", "c", action=Action.SLOWED)
        refusals.note("libp2p service")
    now.now_us = 30_000_000
    assert [(row["from"], row["reason"], row["action"]) for row in refusals.attack_rows(1_000)] == [
        ("192.0.2.0/24", "connection: no hello", "connection closed"),
        ("a", "frame", "connection closed"),
        ("b", "oversized", "refused"),
        ("c", "pings", "slowed"),
    ]
    assert {(row["count"], row["since_unix_s"]) for row in refusals.attack_rows(1_000)} == {(20, 970)}


def test_where_a_peer_is_connected_from_is_looked_up() -> None:
    refusals = Refusals()
    refusals.host_of = lambda peer_id: "192.0.2.7"
    for number in range(50):
        refusals.note("frame", str(number))
    assert [one.source for one in refusals.attacks()] == ["192.0.2.0/24"]


def test_a_service_counts_for_itself_and_says_whom_it_concerns() -> None:
    refusals = Refusals()
    tally = Tally(refusals)
    for _ in range(25):
        tally.note("the signature does not verify", "a")
        tally.note("9 of 10 micro-credits are missing", "b", mild=True)
        Tally().note("the signature does not verify", "c")
    assert dict(tally) == {"the signature does not verify": 25, "9 of 10 micro-credits are missing": 25}
    assert not refusals.counts
    assert [one.source for one in refusals.attacks()] == ["a"]


def test_reasons_that_begin_alike_are_as_mild_and_end_the_same() -> None:
    refusals = Refusals()
    for _ in range(25):
        refusals.note("stream: no place (ping)", "busy")
        refusals.note("stream: too often (ping)", "hostile")
    (attack,) = refusals.attacks()
    assert (attack.source, attack.action) == ("hostile", Action.STREAM)


def test_what_is_done_about_a_reason_and_how_grave_it_is_are_known_by_the_names_that_are_counted() -> None:
    counted = {*Reason, *Drop, *StreamDrop, *MuxerFault}
    named = {one for one in (*ACTIONS, *MILD) if one.partition(": ")[0] in ("connection", "stream", "muxer")}
    assert all(any(reason.startswith(one) for reason in counted) for one in named)
    assert {fault for fault in MuxerFault if fault not in ACTIONS} == set()
