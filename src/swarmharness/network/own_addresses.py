"""Where others can reach this node now: told what its machine has, it tells whoever watches; it reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarmharness.network.addresses import ADDRESSES_MAX, announced, plain_first


@dataclass(frozen=True, slots=True)
class Hosts:
    """The IP addresses of a machine, as text in their shortest form."""

    up: frozenset[str] = frozenset()
    """Those of interfaces that run, at which others may reach it: neither loopback nor link-local."""
    present: frozenset[str] = frozenset()
    """All of them."""


class OwnAddresses:
    """The addresses of one node; `announce` replaces them, for example behind a forwarded port."""

    def __init__(self, announce: Sequence[str] = ()) -> None:
        self._announce = tuple(announce[:ADDRESSES_MAX])
        self._listeners: list[Callable[[], None]] = []
        self.listening: tuple[str, ...] = ()
        """What the node is bound to; 0.0.0.0 and :: stand for every interface."""
        self.current: tuple[str, ...] = ()
        """Concrete multiaddrs; empty while nobody can reach it."""

    def watch(self, listener: Callable[[], None]) -> None:
        """Call `listener`, which must not block, whenever `current` changed."""
        self._listeners.append(listener)

    def update(self, listening: Sequence[str], hosts: Hosts) -> bool:
        """Take in what the node is bound to and what the machine has now; tells the listeners if that is news."""
        self.listening = plain_first(listening)
        now = self._now(hosts)
        if now == self.current:
            return False
        self.current = now
        for listener in self._listeners:
            listener()
        return True

    def _now(self, hosts: Hosts) -> tuple[str, ...]:
        if self._announce and self.listening:
            return self._announce
        return announced(self.listening, hosts.up, hosts.present)
