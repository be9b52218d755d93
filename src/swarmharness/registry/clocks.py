"""How far other nodes' clocks are from this node's, as they told, and what to tell a person of it; pure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from swarmharness.registry.advert import CLOCK_SKEW_S_MAX

PEERS_MAX = 512
ALIKE_S = CLOCK_SKEW_S_MAX
REMEDY = "switch on time synchronisation there, for example: timedatectl set-ntp true"


@dataclass(slots=True)
class Clocks:
    """The differences by peer, in seconds; positive: that clock is ahead of this node's. The latest told is last."""

    _ahead_s: dict[str, int] = field(default_factory=dict)
    _told_us: dict[str, int] = field(default_factory=dict)

    def note(self, peer_id: str, ahead_s: int, now_us: int) -> None:
        """Hear how far ahead a peer's clock is; `now_us` is of a monotonic clock."""
        self._forget(peer_id)
        self._ahead_s[peer_id], self._told_us[peer_id] = ahead_s, now_us
        if len(self._ahead_s) > PEERS_MAX:
            self._forget(next(iter(self._ahead_s)))

    def forget(self, before_us: int, keep: Container[str]) -> None:
        """Forget those that last told before an instant, but those to `keep`: who left may be right again by now."""
        for peer_id in [one for one, told_us in self._told_us.items() if told_us < before_us and one not in keep]:
            self._forget(peer_id)

    def clear(self) -> None:
        """Forget everything, because this node's own clock was set."""
        self._ahead_s.clear()
        self._told_us.clear()

    def is_wrong(self, peer_id: str) -> bool:
        """Tell whether the peer's clock and this one's are too far apart for adverts to be believed."""
        return abs(self._ahead_s.get(peer_id, 0)) > CLOCK_SKEW_S_MAX

    def ahead_s(self, peer_id: str) -> int | None:
        """Return how far a peer's clock is ahead of this one's, or None if it did not say."""
        return self._ahead_s.get(peer_id)

    @property
    def wrong(self) -> Mapping[str, int]:
        """The differences that are too large, by peer."""
        return {peer: ahead_s for peer, ahead_s in self._ahead_s.items() if abs(ahead_s) > CLOCK_SKEW_S_MAX}

    @property
    def compared(self) -> int:
        """How many peers told their time."""
        return len(self._ahead_s)

    def sentences(self) -> list[str]:
        """Say whose clock seems wrong, by how much, and against whom; nothing if all agree."""
        wrong = self.wrong
        if not wrong:
            return []
        agreeing = self.compared - len(wrong)
        if not agreeing and len(wrong) > 1 and max(wrong.values()) - min(wrong.values()) <= ALIKE_S:
            peer, ahead_s = next(iter(wrong.items()))
            others = f"those of all {len(wrong)} nodes that told theirs, such as {peer}"
            return [f"this node's clock is {_apart(-ahead_s)} {others}: set this machine's clock"]
        return [difference_text(peer, ahead_s, agreeing=agreeing) for peer, ahead_s in wrong.items()]

    def _forget(self, peer_id: str) -> None:
        self._ahead_s.pop(peer_id, None)
        self._told_us.pop(peer_id, None)


def difference_text(peer_id: str, ahead_s: int, *, agreeing: int = 0) -> str:
    """Say how far a peer's clock is from this node's; `agreeing` others have the time that this node has."""
    apart = f"the clock of {peer_id} is {_apart(ahead_s)} this node's"
    if agreeing:
        others = f"{agreeing} others agree" if agreeing > 1 else "another node agrees"
        return f"{apart}, and {others} with this node: it is wrong there"
    return f"{apart}, and one of the two is wrong: compare both with the right time"


def summary(sentences: Sequence[str]) -> str:
    """Return the first sentence, and how many more there are."""
    more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
    return f"{sentences[0]}{more}" if sentences else ""


def _apart(ahead_s: int) -> str:
    return f"{abs(ahead_s)} s {'ahead of' if ahead_s > 0 else 'behind'}"
