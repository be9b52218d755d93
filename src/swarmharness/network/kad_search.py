"""One iterative look-up of Kademlia, told what peers answer and asked whom to ask next; pure, and it sends nothing.

Whoever answers can name peers that are not there, nearer to the key than all others. So whoever does not answer is left
out of the result, and those that one peer has named are asked last while there are others.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmharness.network.kad_table import nearest

ALPHA = 10
"""Peers asked at a time."""
ROUNDS_MAX = 20
_HEARSAY = b""
_NAMED_BY_ONE_MAX = 3
"""Of those asked at a time, while there are others."""


class KadSearch:
    """The search of the node `own` for the peers next to `key`.

    It begins with peers that it knows, and with those of which it has only heard.
    """

    def __init__(self, own: bytes, key: bytes, known: Iterable[bytes], heard: Iterable[bytes] = ()) -> None:
        self._own = own
        self._key = key
        self._named_by: dict[bytes, bytes] = {peer: _HEARSAY for peer in heard if peer != own}
        self._named_by |= {peer: peer for peer in known if peer != own}
        self._asked: set[bytes] = set()
        self._answered: set[bytes] = set()
        self._failed: set[bytes] = set()
        self._last: list[bytes] | None = None
        self.rounds = 0

    @property
    def asked(self) -> int:
        """How many peers were asked."""
        return len(self._asked)

    @property
    def failed(self) -> int:
        """How many of them did not answer."""
        return len(self._failed)

    def next_round(self) -> list[bytes]:
        """Return whom to ask now, nobody when the search is over; who was returned before has to be told of first."""
        closest = self._closest()
        if closest == self._last or self.rounds >= ROUNDS_MAX:
            return []
        self._last = closest
        fresh = [peer for peer in closest if peer not in self._asked]
        shares: dict[bytes, int] = {}
        first: list[bytes] = []
        later: list[bytes] = []
        for peer in fresh:
            namer = self._named_by[peer]
            shares[namer] = shares.get(namer, 0) + 1
            (first if shares[namer] <= _NAMED_BY_ONE_MAX or namer == peer else later).append(peer)
        chosen = [*first, *later][:ALPHA]
        self._asked.update(chosen)
        self.rounds += bool(chosen)
        return chosen

    def answered(self, peer: bytes, named: Iterable[bytes]) -> None:
        """Note that a peer answered, and whom it named."""
        self._answered.add(peer)
        for one in named:
            if one != self._own:
                self._named_by.setdefault(one, peer)

    def no_answer(self, peer: bytes) -> None:
        """Note that a peer did not answer."""
        self._failed.add(peer)

    def result(self) -> list[bytes]:
        """Return the peers next to the key, also of a search that is not over: those that answered come first."""
        there = (peer for peer in self._named_by if peer in self._answered or peer not in self._asked)
        return sorted(nearest(there, self._key), key=lambda peer: peer not in self._answered)

    def _closest(self) -> list[bytes]:
        return nearest((peer for peer in self._named_by if peer not in self._failed), self._key)
