"""Tells from refusals who attacks a node, by peer or by network of addresses; pure, and it stops nobody.

Refusals are counted under their peer and under the network of its address, in two tables of fixed size, as in
"Hierarchical heavy hitters with the Space-Saving algorithm" (Mitzenmacher, Steinke, Thaler, ALENEX 2012). A table of m
names never loses one that has more than 1/m of all refusals, however many names come once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from swarmharness.address_prefixes import prefixes

NAMES_MAX = 64
"""Peers and networks together."""
ATTACK_US = 200_000_000
"""A name attacks once its refusals cost so much more than the time in which they came."""
COST_US, MILD_COST_US = 10_000_000, 500_000
"""So 20 at once are an attack, and 6 a minute never; mild are 400 at once, and 120 a minute."""
KEPT_US = 3_600_000_000
PEERS_APART_MAX = 3
"""More peers of one network that do the same are told as that network."""


class Action(StrEnum):
    """What the node did about what it refused."""

    REFUSED = "refused"
    STREAM = "stream reset"
    CONNECTION = "connection closed"
    SLOWED = "slowed"


@dataclass(frozen=True, slots=True)
class Attack:
    """Refusals of one peer or network for one reason that came too often for an accident."""

    source: str
    """A peer id, or a network such as 192.0.2.0/24; peers that are told apart are not counted again in theirs."""
    reason: str
    count: int
    since_us: int
    action: Action


class Attacks:
    """Told of every refusal, asked for the attacks. Times are of one monotonic clock."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._peers = _Table(names_max // 2)
        self._networks = _Table(names_max - names_max // 2)

    def __len__(self) -> int:
        return len(self._peers.names) + len(self._networks.names)

    def note(self, reason: str, peer_id: str, host: str, action: Action, now_us: int, *, mild: bool = False) -> None:
        """Note a refusal; `mild` is one that also meets busy, slow or outdated peers now and then."""
        network, cost_us = network_of(host) if host else "", MILD_COST_US if mild else COST_US
        if peer_id:
            self._peers.note((peer_id, reason), network, action, cost_us, now_us)
        if network:
            self._networks.note((network, reason), network, action, cost_us, now_us)

    def current(self, now_us: int) -> list[Attack]:
        """Return the attacks of the last hour, the greatest first."""
        networks = self._networks.attacks(now_us)
        apart = self._peers.attacks(now_us)
        for key, network in networks.items():
            same = [other for other, peer in apart.items() if (peer.network, other[1]) == key]
            if len(same) > PEERS_APART_MAX:
                for other in same:
                    del apart[other]
            else:
                network.count -= sum(apart[other].count for other in same)
        shared = {key: one for key, one in networks.items() if one.count * one.cost_us >= ATTACK_US}
        found = [
            Attack(source, reason, one.count, one.since_us, one.action)
            for (source, reason), one in (*apart.items(), *shared.items())
        ]
        return sorted(found, key=lambda one: (-one.count, one.source, one.reason))


@dataclass(slots=True)
class _Name:
    network: str
    action: Action
    weight: int
    """Refusals, with those of the names whose place it took: what Space-Saving goes by."""
    cost_us: int
    since_us: int
    last_us: int
    count: int = 0
    """Refusals since `since_us`, all its own."""
    debt_us: int = 0
    attacked_us: int | None = None
    """When it last was an attack."""


_Key = tuple[str, str]


class _Table:
    """The names with the most refusals; a new one takes the place of that with the fewest."""

    def __init__(self, names_max: int) -> None:
        self.names: dict[_Key, _Name] = {}
        self._names_max = names_max

    def note(self, key: _Key, network: str, action: Action, cost_us: int, now_us: int) -> None:
        one = self.names.get(key)
        if one is None:
            one = self.names[key] = _Name(network, action, self._make_room(now_us), cost_us, now_us, now_us)
        one.debt_us = max(0, one.debt_us - (now_us - one.last_us))
        if not one.debt_us and not _is_told(one, now_us):  # what was before had nothing to do with what begins
            one.since_us, one.count = now_us, 0
        one.weight, one.count, one.last_us = one.weight + 1, one.count + 1, now_us
        one.network, one.action, one.cost_us = network or one.network, action, cost_us
        one.debt_us = min(one.debt_us + cost_us, ATTACK_US)
        if one.debt_us == ATTACK_US:
            one.attacked_us = now_us

    def attacks(self, now_us: int) -> dict[_Key, _Name]:
        """Return copies of those that attacked within the last hour."""
        return {key: replace(one) for key, one in self.names.items() if _is_told(one, now_us)}

    def _make_room(self, now_us: int) -> int:
        """Return the weight that the place of a new name has already."""
        if len(self.names) < self._names_max:
            return 0
        weights = {key: 0 if now_us - one.last_us > KEPT_US else one.weight for key, one in self.names.items()}
        victim = min(weights, key=weights.__getitem__)
        del self.names[victim]
        return weights[victim]


def _is_told(one: _Name, now_us: int) -> bool:
    return one.attacked_us is not None and now_us - one.attacked_us <= KEPT_US


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    """Return the network that an address is told as, loopback too: a /24, a /56, or nothing for what is no address."""
    return prefixes(host, loopback=True)[1]
