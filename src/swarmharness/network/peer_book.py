"""Which peers a node remembers, with which addresses and for how long; pure: it is told the time and dials nobody.

Whoever is pinned or connected cannot be pushed out, however many others come: the node's own key, bootstrap nodes and
channels in use never depend on room that strangers can fill.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

ADDRESSES_MAX = 16
"""Of one peer, of each of the two kinds."""
PROTOCOLS_MAX = 64
PROTOCOL_CHARS_MAX = 128
REMEMBERED_S = 86_400.0
"""How long an address is kept that this node was told to remember, after the last time or the last connection."""
HEARD_S = 7_200.0
"""How long at most one that libp2p heard: the lifetime that it gives them itself."""

Peer = TypeVar("Peer", bound=Hashable)
Address = TypeVar("Address", bound=Hashable)


@dataclass(slots=True)
class Entry(Generic[Address]):
    """What is known of one peer; the addresses say when they expire, and the best is first."""

    remembered: dict[Address, float] = field(default_factory=dict)
    """Told by this node's own code: invites, adverts, earlier runs."""
    heard: dict[Address, float] = field(default_factory=dict)
    """Told by libp2p: identify and the DHT."""
    protocols: tuple[str, ...] = ()
    key: Any = None
    record: Any = None
    """The public key and the signed addresses, which mean nothing here."""


class PeerBook(Generic[Peer, Address]):
    """At most `peers_max` peers besides the pinned ones.

    Evicted first are peers that only libp2p heard of, then those that this node was told of, the longest unmentioned
    first; never one that is `pinned` or for which `connected` holds.
    """

    def __init__(
        self, *, peers_max: int, pinned: Iterable[Peer] = (), connected: Callable[[Peer], bool] = lambda peer: False
    ) -> None:
        self._peers_max = peers_max
        self._pinned: dict[Peer, Entry[Address]] = {peer: Entry() for peer in pinned}
        self._told: dict[Peer, Entry[Address]] = {}
        self._heard_of: dict[Peer, Entry[Address]] = {}
        self._connected = connected

    def __len__(self) -> int:
        return len(self._pinned) + len(self._told) + len(self._heard_of)

    def __iter__(self) -> Iterator[Peer]:
        return iter([*self._pinned, *self._told, *self._heard_of])

    def get(self, peer: Peer) -> Entry[Address] | None:
        """Return what is known of a peer, if anything."""
        for entries in (self._pinned, self._told, self._heard_of):
            if peer in entries:
                return entries[peer]
        return None

    def entry(self, peer: Peer) -> Entry[Address]:
        """Return the entry to write in; a peer that nobody told this node of counts as just mentioned."""
        for entries in (self._pinned, self._told):
            if peer in entries:
                return entries[peer]
        entry: Entry[Address] = self._heard_of.pop(peer) if peer in self._heard_of else Entry()
        self._heard_of[peer] = entry
        self._evict()
        return entry

    def remember(self, peer: Peer, addresses: Iterable[Address], now_s: float) -> None:
        """Add addresses, newest first, up to a limit; they are tried before those that are heard."""
        if peer in self._pinned:
            entry = self._pinned[peer]
        else:
            entry = self.get(peer) or Entry()
            self.forget(peer)
            self._told[peer] = entry
        entry.remembered = _merged(addresses, entry.remembered, now_s + REMEMBERED_S)
        self._evict()

    def hear(self, peer: Peer, addresses: Iterable[Address], now_s: float, lifetime_s: float = HEARD_S) -> None:
        """Add addresses, newest first, up to a limit, for no longer than `HEARD_S`."""
        entry = self.entry(peer)
        entry.heard = _merged(addresses, entry.heard, now_s + min(lifetime_s, HEARD_S))

    def left(self, peer: Peer, now_s: float) -> None:
        """Note that the last connection to a peer ended: its addresses were good until now."""
        entry = self.get(peer)
        if entry is not None:
            entry.remembered = dict.fromkeys(entry.remembered, now_s + REMEMBERED_S)
            entry.heard = dict.fromkeys(entry.heard, now_s + HEARD_S)

    def addresses(self, peer: Peer, now_s: float) -> list[Address]:
        """Return those that have not expired, the best first; those of pinned and connected peers never do."""
        entry = self.get(peer)
        if entry is None:
            return []
        if not self._stays(peer):
            entry.remembered = {address: end_s for address, end_s in entry.remembered.items() if end_s > now_s}
            entry.heard = {address: end_s for address, end_s in entry.heard.items() if end_s > now_s}
        return list(dict.fromkeys((*entry.remembered, *entry.heard)))[:ADDRESSES_MAX]

    def add_protocols(self, peer: Peer, names: Iterable[str]) -> None:
        """Add protocols that a peer speaks, up to a limit."""
        entry = self.entry(peer)
        merged = dict.fromkeys(entry.protocols)
        for name in names:
            if len(merged) >= PROTOCOLS_MAX:
                break
            if len(name) <= PROTOCOL_CHARS_MAX:
                merged[name] = None
        entry.protocols = tuple(merged)

    def forget(self, peer: Peer) -> None:
        """Forget a peer; a pinned one stays, with nothing known of it."""
        if peer in self._pinned:
            self._pinned[peer] = Entry()
        self._told.pop(peer, None)
        self._heard_of.pop(peer, None)

    def _stays(self, peer: Peer) -> bool:
        return peer in self._pinned or self._connected(peer)

    def _evict(self) -> None:
        while len(self._told) + len(self._heard_of) > self._peers_max:
            if not (self._drop_oldest(self._heard_of) or self._drop_oldest(self._told)):
                return  # all are connected, and connections are limited

    def _drop_oldest(self, entries: dict[Peer, Entry[Address]]) -> bool:
        """Drop the first entry that need not stay; those that it passes count as just mentioned."""
        for _ in range(len(entries)):
            peer = next(iter(entries))
            entry = entries.pop(peer)
            if not self._stays(peer):
                return True
            entries[peer] = entry
        return False


def _merged(new: Iterable[Address], old: dict[Address, float], end_s: float) -> dict[Address, float]:
    """Return both, the new first, no more than the limit."""
    merged: dict[Address, float] = {}
    for address in new:
        if len(merged) == ADDRESSES_MAX:
            return merged
        merged[address] = end_s
    for address, old_end_s in old.items():
        if len(merged) == ADDRESSES_MAX:
            break
        merged.setdefault(address, old_end_s)
    return merged
