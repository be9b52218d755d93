"""Decides from PING and PONG times whether a peer is alive and how far away; pure: it never sends or sleeps."""

from __future__ import annotations

MISSED_MAX = 2
"""So a peer is given up at most three intervals after its last answer (3 s each: invariant N-3's 10 s)."""
_SMOOTHING = 0.125  # as TCP smooths its round-trip time: RFC 6298, alpha = 1/8


class Heartbeat:
    """Counts unanswered PINGs and smooths the round-trip time."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._sent: dict[int, float] = {}
        self._round_trip_s: float | None = None
        self._last_tick_s: float | None = None

    @property
    def round_trip_us(self) -> int | None:
        """The smoothed round-trip time, or None before the first answer."""
        return None if self._round_trip_s is None else max(1, round(self._round_trip_s * 1e6))

    def tick(self, number: int, now_s: float, heard_s: float) -> bool:
        """Note that PING `number` goes out now; returns False when the peer is dead instead.

        `heard_s` is when anything came from the peer last: on a slow link an answer waits behind a large payload, and
        a peer that sends is alive.

        A tick that comes much too late means that this process was suspended, not that the peer is silent: the
        answers lie unread in the socket, so nothing is held against the peer that time.
        """
        late = self._last_tick_s is not None and now_s - self._last_tick_s > 1.5 * self._interval_s
        self._last_tick_s = now_s
        if late or now_s - heard_s < self._interval_s:
            self._sent.clear()
        if len(self._sent) >= MISSED_MAX:
            return False
        self._sent[number] = now_s
        return True

    def answered(self, number: int, now_s: float) -> None:
        """Note a PONG; one that answers no outstanding PING proves nothing and is ignored."""
        sent_s = self._sent.get(number)
        if sent_s is None:
            return
        self._sent = {other: time_s for other, time_s in self._sent.items() if time_s > sent_s}
        sample_s = now_s - sent_s
        if self._round_trip_s is None:
            self._round_trip_s = sample_s
        else:
            self._round_trip_s += _SMOOTHING * (sample_s - self._round_trip_s)
