"""Why nodes that are there are not known here, or do not know this one: it hears of refusals and clocks, and tells.

It never decides what is believed: that is done before it is told.
"""

from __future__ import annotations

from collections.abc import Container

from swarmharness.attacks import KEPT_US
from swarmharness.errors import ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.ports import Clock
from swarmharness.refusals import HIDING, TWIN_REMEDY, Reason, Refusal, Refusals, shown
from swarmharness.registry.advert import CLOCK_SKEW_S_MAX, Advert, DatesError, SequenceError
from swarmharness.registry.clocks import Clocks, difference_text, summary
from swarmharness.registry.joining import Problem

JUMP_US = 30_000_000
"""Wall and monotonic clock drift apart by less, unless the wall clock is set."""


class Reasons:
    """`highest` is the highest number of an own advert that this node signed."""

    def __init__(self, own_id: PeerId, clock: Clock, refusals: Refusals) -> None:
        self.clocks = Clocks()
        self._own_id, self._clock, self._refusals = own_id, clock, refusals
        self._offset_us = self._offset()

    # -- hearing ----------------------------------------------------------------------------------------------

    def heard_clock(self, peer_id: str, unix_s: int) -> bool:
        """Hear what time it is at a peer; returns whether its clock was too far off before, and no longer is."""
        if not unix_s:
            return False  # a node of an older version does not say
        was_wrong = self.clocks.is_wrong(peer_id)
        self.clocks.note(peer_id, unix_s - self._unix_s(), self._clock.monotonic_us())
        if self.clocks.is_wrong(peer_id):
            return False
        return self._refusals.solved(Reason.CLOCK, peer_id) or was_wrong

    def refused(self, peer_id: str, error: SwarmError, *, direct: bool) -> str:
        """Hear that an advert from a peer was refused, and return why in words; `direct` says that it is its own."""
        reason, text, numbers = _reason_of(error), shown(str(error)), dict[str, int]()
        if isinstance(error, DatesError) and direct:
            if not self.clocks.is_wrong(peer_id) and abs(error.late_s) > CLOCK_SKEW_S_MAX:
                # a node of an older version does not say what time it has
                self.clocks.note(peer_id, -error.late_s, self._clock.monotonic_us())
            if ahead_s := self.clocks.wrong.get(peer_id):
                reason, text = Reason.CLOCK, difference_text(peer_id, ahead_s)
                numbers["clock_ahead_s"] = ahead_s
        elif isinstance(error, SequenceError):
            text = f"{text}: two nodes use its key, or it runs on an old copy of its data directory"
        self._refusals.note(reason, peer_id)
        if direct:
            self._refusals.tell(reason, peer_id, text, **numbers)
        return text

    def accepted(self, peer_id: str) -> None:
        """Hear that a peer's own advert was taken in."""
        for reason in HIDING:
            self._refusals.solved(reason, peer_id)

    def own_advert(self, advert: Advert, *, told_by: str, highest: int) -> None:
        """Hear of an advert of this node's key that somebody has."""
        self._twin(advert.sequence, f"{told_by} has an advert of this node's key that", highest)

    def own_sequence(self, sequence: int, *, told_by: str, highest: int) -> None:
        """Hear up to which number somebody knows adverts of this node's key: a higher one is another node's."""
        self._twin(sequence, f"{told_by} says that it knows an advert of this node's key that", highest)

    def clock_was_set(self) -> bool:
        """Tell, once, that this node's own clock was set; what was known of others' is forgotten then."""
        offset_us = self._offset()
        if abs(offset_us - self._offset_us) < JUMP_US:
            return False
        self._offset_us = offset_us
        for peer_id in self.clocks.wrong:
            self._refusals.solved(Reason.CLOCK, peer_id)
        self.clocks.clear()
        return True

    def forget_clocks(self, connected: Container[str]) -> None:
        """Forget the clocks of nodes that left more than an hour ago."""
        self.clocks.forget(self._clock.monotonic_us() - KEPT_US, connected)

    # -- telling ----------------------------------------------------------------------------------------------

    def of_peer(self, peer_id: str) -> str:
        """Return why a peer is not known here, or an empty string."""
        found = next((one for one in self._refusals.recent(HIDING) if one.peer_id == peer_id), None)
        return "" if found is None else found.text

    def hidden(self) -> tuple[Refusal, ...]:
        """Return what was refused of nodes that are there."""
        return self._refusals.recent(HIDING)

    def text(self) -> str:
        """Say in one line why nodes that are there may be hidden from each other; empty if none seems to be."""
        parts = [summary(self.clocks.sentences())]
        for reason in (Reason.SEQUENCE, Reason.ADVERT, Reason.MALFORMED_ADVERT, Reason.HELLO, Reason.ACCESS):
            parts.append(summary([one.text for one in self._refusals.recent({reason})]))
        return "; ".join(part for part in parts if part)

    def problems(self) -> list[Problem]:
        """Return what somebody should mend: one problem for each reason."""
        now_s, found = self._unix_s(), []
        if sentences := self.clocks.sentences():
            found.append(Problem("clock", summary(sentences), now_s, len(sentences)))
        for reason in (Reason.TWIN, Reason.SEQUENCE, Reason.HELLO, Reason.SERVICE):
            if refusals := self._refusals.recent({reason}):
                since_s = now_s - (self._clock.monotonic_us() - min(one.first_us for one in refusals)) // 1_000_000
                found.append(
                    Problem(
                        str(reason), summary([one.text for one in refusals]), since_s, sum(r.count for r in refusals)
                    )
                )
        return found

    # -- parts ------------------------------------------------------------------------------------------------

    def _twin(self, sequence: int, who: str, highest: int) -> None:
        if 0 < highest < sequence:
            self._refusals.note(Reason.TWIN, "", f"{who} another node signed: {TWIN_REMEDY}")

    def _unix_s(self) -> int:
        return self._clock.unix_us() // 1_000_000

    def _offset(self) -> int:
        return self._clock.unix_us() - self._clock.monotonic_us()


def _reason_of(error: SwarmError) -> Reason:
    if isinstance(error, ProtocolError):
        return Reason.MALFORMED_ADVERT
    return Reason.SEQUENCE if isinstance(error, SequenceError) else Reason.ADVERT
