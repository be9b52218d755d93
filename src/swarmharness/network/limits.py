"""Which connections a node takes, keeps and gives up; pure: it is told and asked, and closes nothing itself.

A connection is half-open until its peer has proven who it is, then idle or in use, and it is serving while it has a
channel. Each stage has places, so that those who never get further cannot keep out those who do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from swarmharness.address_prefixes import prefixes


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a node; each is a key of `[limits]`, where it is explained (`node/config.py`)."""

    connections_max: int = 512
    connections_reserved: int = 128
    connections_per_address_max: int = 64
    connections_per_network_max: int = 128
    half_open_max: int = 128
    half_open_per_address_max: int = 16
    half_open_per_network_max: int = 32
    hello_timeout_s: float = 10.0
    idle_timeout_s: float = 10.0
    loopback: bool = False
    peers_remembered_max: int = 4096
    dials_max: int = 128
    reconnects_max: int = 16
    silent_streams_max: int = 4096
    streams_per_connection_max: int = 256
    stream_opens_per_s: int = 64
    stream_window_bytes_max: int = 4 * 1024 * 1024
    unread_bytes_max: int = 32 * 1024 * 1024
    unread_bytes_per_connection_max: int = 8 * 1024 * 1024
    muxer_frames_per_s: int = 10_000
    muxer_pings_per_s: int = 16
    turn_ms: float = 1.0
    dht_requests_per_s: int = 100
    dht_records_max: int = 16_384
    dht_records_per_key_max: int = 64
    dht_records_per_peer_max: int = 256
    strangers_payload_mib: int = 64
    calls_max: int = 8192
    calls_of_strangers_max: int = 4096
    call_time_max_s: float = 21_600.0
    work_known_percent: float = 50.0
    work_stranger_percent: float = 5.0
    work_strangers_percent: float = 25.0


_PATIENCE_S = 3.0
"""What a handshake may take when others wait for its place; one over a slow mobile link takes two."""


class Drop(StrEnum):
    """Why a connection was refused or given up; the names are those of counters."""

    HALF_OPEN = "connection: half-open"
    """Too many were shaking hands, and others of the same network the most."""
    HALF_OPEN_ADDRESS = "connection: half-open of one address"
    HALF_OPEN_NETWORK = "connection: half-open of one network"
    ADDRESS = "connection: many of one address"
    NETWORK = "connection: many of one network"
    FULL = "connection: no place"
    """All places are taken by connections that are of more use."""
    SLOW = "connection: no handshake"
    """It did not prove who it is in time."""
    BROKEN = "connection: broken handshake"
    """It ended before it proved who it is: the other side left, or said what nobody understands."""
    EMPTY = "connection: empty frames"
    """A WebSocket brought pings, or frames without content, faster than anybody needs."""
    SILENT = "connection: no hello"
    """It said neither hello nor anything else of use in time."""
    IDLE = "connection: idle"
    """It was used, and then no more: its ordinary end, which is not counted."""


@dataclass(slots=True)
class _Place:
    host: str
    networks: tuple[str, str]
    """Address and network, or empty texts where the address is not limited."""
    inbound: bool
    since_s: float
    used_s: float
    peer_id: str = ""
    known: bool = False
    used: bool = False

    @property
    def half_open(self) -> bool:
        return not self.peer_id


class Places:
    """The connections of one node, by whatever the caller knows them by."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[Hashable, _Place] = {}
        self._half_open: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._channels: Counter[str] = Counter()
        self._half_open_inbound = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def half_open(self) -> int:
        """How many inbound connections are shaking hands."""
        return self._half_open_inbound

    # -- told -------------------------------------------------------------------------------------------------------

    def arrive(self, key: Hashable, host: str, now_s: float) -> tuple[Drop | None, Hashable | None]:
        """Note a connection that was accepted.

        Returns why it has to go, or else which other one has to, if any: the oldest half-open one of the network that
        has the most. It has to have more than the newcomer's, or that one has had its time: who has begun shall finish.
        """
        limits, networks = self._limits, self._networks(host)
        address, network = networks
        if address and self._half_open[address] >= limits.half_open_per_address_max:
            return Drop.HALF_OPEN_ADDRESS, None
        if network and self._half_open[network] >= limits.half_open_per_network_max:
            return Drop.HALF_OPEN_NETWORK, None
        victim = None
        if self._half_open_inbound >= limits.half_open_max:
            victim = self._stalest(network, now_s)
            if victim is None:
                return Drop.HALF_OPEN, None
        self._places[key] = _Place(host, networks, True, now_s, now_s)
        self._half_open_inbound += 1
        self._count(self._half_open, networks, 1)
        return None, victim

    def begun(self, key: Hashable, now_s: float) -> None:
        """Note that a handshake begins only now: it had to wait for its turn."""
        place = self._places.get(key)
        if place is not None and place.half_open:
            place.since_s = now_s

    def dialled(self, key: Hashable, host: str, now_s: float) -> None:
        """Note a connection that this node opened: it is not held against the other side's address."""
        self._places[key] = _Place(host, ("", ""), False, now_s, now_s)

    def secured(self, key: Hashable, peer_id: str, now_s: float, *, known: bool) -> tuple[Drop | None, Hashable | None]:
        """Note who is at the other end; `known` peers may use the reserved places, and no address is full for them.

        Returns as `arrive` does: the least useful one goes.
        """
        place = self._places.get(key)
        if place is None or not place.half_open:
            return None, None
        self._leave_half_open(place)
        place.peer_id, place.known, place.since_s, place.used_s = peer_id, known, now_s, now_s
        address, network = place.networks
        limits = self._limits
        drop = None
        if address and not known and self._open[address] >= limits.connections_per_address_max:
            drop = Drop.ADDRESS
        elif network and not known and self._open[network] >= limits.connections_per_network_max:
            drop = Drop.NETWORK
        self._count(self._open, place.networks, 1)
        return (drop, None) if drop is not None else self._make_room(key, place)

    def used(self, key: Hashable, now_s: float) -> None:
        """Note that something of use goes by a connection."""
        place = self._places.get(key)
        if place is not None:
            place.used, place.used_s = True, now_s

    def serves(self, peer_id: str, *, by: int) -> None:
        """Note that a peer has one channel more (`by` 1) or less (-1); with one, all its connections are of use."""
        self._channels[peer_id] += by
        if self._channels[peer_id] <= 0:
            del self._channels[peer_id]

    def leave(self, key: Hashable) -> None:
        """Note that a connection is closed."""
        place = self._places.pop(key, None)
        if place is None:
            return
        if place.half_open:
            self._leave_half_open(place)
        else:
            self._count(self._open, place.networks, -1)

    # -- asked ------------------------------------------------------------------------------------------------------

    def overdue(self, now_s: float) -> list[tuple[Hashable, Drop]]:
        """Return the connections that have had their time."""
        limits, found = self._limits, []
        for key, place in self._places.items():
            if place.peer_id in self._channels:
                continue
            if place.half_open:
                if now_s - place.since_s >= limits.hello_timeout_s:
                    found.append((key, Drop.SLOW))
            elif not place.used:
                if now_s - place.since_s >= limits.hello_timeout_s:
                    found.append((key, Drop.SILENT if place.inbound else Drop.IDLE))
            elif now_s - place.used_s >= limits.idle_timeout_s:
                found.append((key, Drop.IDLE))
        return found

    def is_shaking_hands(self, key: Hashable) -> bool:
        """Tell whether an inbound connection is there and has not proven yet who is at its other end."""
        place = self._places.get(key)
        return place is not None and place.half_open and place.inbound

    def whose(self, key: Hashable) -> tuple[str, str]:
        """Return the peer and the address at the other end, as far as they are known."""
        place = self._places.get(key)
        return ("", "") if place is None else (place.peer_id, place.host)

    def counts(self) -> dict[str, int]:
        """Return how many connections there are, by stage."""
        serving = sum(place.peer_id in self._channels for place in self._places.values())
        half_open = sum(place.half_open for place in self._places.values())
        return {"serving": serving, "idle": len(self._places) - serving - half_open, "half_open": half_open}

    # -- inside -----------------------------------------------------------------------------------------------------

    def _make_room(self, key: Hashable, new: _Place) -> tuple[Drop | None, Hashable | None]:
        limits = self._limits
        settled = [(other, place) for other, place in self._places.items() if not place.half_open and other != key]
        strangers = [(other, place) for other, place in settled if not place.known]
        if len(settled) < limits.connections_max and (
            new.known or len(strangers) < max(1, limits.connections_max - limits.connections_reserved)
        ):
            return None, None
        victim, least = min(strangers or settled, key=lambda item: self._worth(item[1]))
        if least.peer_id in self._channels and (least.known or not new.known):
            return Drop.FULL, None
        return None, victim

    def _worth(self, place: _Place) -> tuple[bool, bool, bool, float]:
        """Return what tells how useful a connection is; the smallest goes first."""
        return place.peer_id in self._channels, place.known, place.used, place.used_s

    def _stalest(self, newcomers: str, now_s: float) -> Hashable | None:
        """Return the oldest inbound half-open connection of the network that has the most, if it may be dropped."""
        waiting = [(key, place) for key, place in self._places.items() if place.half_open and place.inbound]
        shares = Counter(place.networks[1] for _, place in waiting)
        key, oldest = min(waiting, key=lambda item: (-shares[item[1].networks[1]], item[1].since_s))
        crowded = shares[oldest.networks[1]] > shares[newcomers] + 1
        return key if crowded or now_s - oldest.since_s >= _PATIENCE_S else None

    def _networks(self, host: str) -> tuple[str, str]:
        return prefixes(host, loopback=self._limits.loopback)

    def _leave_half_open(self, place: _Place) -> None:
        if place.inbound:
            self._half_open_inbound -= 1
            self._count(self._half_open, place.networks, -1)

    @staticmethod
    def _count(counter: Counter[str], networks: tuple[str, str], by: int) -> None:
        for name in networks:
            if name:
                counter[name] += by
                if not counter[name]:
                    del counter[name]
