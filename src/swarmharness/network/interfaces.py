"""Reads which addresses this machine has now, by psutil; it remembers nothing and opens no connection."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from swarmharness.network.own_addresses import Hosts

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def read_hosts() -> Hosts:
    """Return the addresses of every interface; raises OSError if the system does not tell."""
    up, present = set(), set()
    states = _states()
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family in _FAMILIES:
                host = ipaddress.ip_address(entry.address.split("%", 1)[0])
                present.add(str(host))
                if states.get(name, True) and not (host.is_loopback or host.is_link_local):
                    up.add(str(host))
    return Hosts(frozenset(up), frozenset(present))


def _states() -> dict[str, bool]:
    """Return whether each interface runs; one that is not named may."""
    try:
        return {name: state.isup for name, state in psutil.net_if_stats().items()}
    except OSError:
        return {}  # some sandboxes list addresses and nothing else
