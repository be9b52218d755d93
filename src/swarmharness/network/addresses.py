"""Multiaddrs as text: which ones a node may listen on, which it announces, who can use them; it opens no connection."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Collection, Iterable
from enum import Enum

from swarmharness.errors import ConfigurationError

_LISTEN = re.compile(r"/ip(?P<version>[46])/(?P<host>[0-9A-Fa-f.:]+)/tcp/(?P<port>\d{1,5})(?P<ws>/ws)?\Z")
ADDRESSES_MAX = 16
"""The most that a node announces: no advert or invite takes more."""
_LOOPBACK = ("127.0.0.1", "::1")
_EXAMPLE = "/ip4/127.0.0.1/tcp/4001, or /ip4/127.0.0.1/tcp/4002/ws for browsers"


def check_listen(addresses: Iterable[str]) -> None:
    """Raise ConfigurationError unless each address is well formed and can be bound now.

    libp2p binds with SO_REUSEPORT, so that a second node on the same port would silently share its connections;
    binding without it first is what finds a port in use.
    """
    taken: dict[tuple[str, int], str] = {}
    for address in addresses:
        host, port = _parse(address)
        if port and (host, port) in taken:
            raise ConfigurationError(f"{address} and {taken[host, port]} need different ports")
        taken[host, port] = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
                probe.listen(1)  # two sockets may bind one address; only one may listen
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {address}: {_explain(error, host)}") from None


def announced(listening: Collection[str], up: Collection[str], present: Collection[str]) -> tuple[str, ...]:
    """Return where others can reach a node that is bound to `listening`: plain TCP first, at most 16.

    `up` are the hosts at which the network reaches this machine now, `present` all hosts that it has. An unspecified
    host (0.0.0.0, ::) stands for all that are up, and for loopback while there is none at all; another host counts
    while the machine has it.
    """
    most = max(1, ADDRESSES_MAX // max(1, len(listening)))
    every = [address for address in listening if _is_unspecified(address)]
    there = [address for address in listening if address not in every and _is_present(address, present)]
    found = [one for address in every for one in _at(address, up)[:most]]
    found = found or [one for address in every for one in _at(address, _LOOPBACK)]
    return plain_first({*found, *there})[:ADDRESSES_MAX]


def plain_first(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses in order, plain TCP first: it is twice as fast as WebSocket."""
    return tuple(sorted(addresses, key=lambda address: (address.endswith("/ws"), address)))


class Reach(Enum):
    """Who can reach a node, and why nobody else can."""

    NETWORK = "network"
    LOOPBACK = "loopback"
    """It listens on loopback, so only programs on the same machine."""
    NO_NETWORK = "no-network"
    """It listens on every interface, and none has an address now; programs on the same machine still can."""
    LOST = "lost"
    """It listens on an address that the machine has no more."""
    NOT_LISTENING = "not-listening"


def reach(listening: Collection[str], addresses: Collection[str]) -> Reach:
    """Tell who can use a node's addresses; `listening` is what it is bound to."""
    if any(not is_loopback(address) for address in addresses):
        return Reach.NETWORK
    if any(_is_unspecified(address) for address in listening):
        return Reach.NO_NETWORK
    if addresses:
        return Reach.LOOPBACK
    return Reach.LOST if listening else Reach.NOT_LISTENING


def is_loopback(address: str) -> bool:
    """Tell whether a multiaddr leads no further than its own machine."""
    match = _LISTEN.match(address)
    return match is not None and ipaddress.ip_address(match["host"]).is_loopback


def open_to_the_network(listening: Iterable[str]) -> str:
    """Return what a node that is bound to `listening`, on loopback, would listen on to be reached from elsewhere.

    The port stays: when the node has stopped, it is free.
    """
    match = next((match for match in map(_LISTEN.match, plain_first(listening)) if match), None)
    if match is None:
        return "/ip4/0.0.0.0/tcp/4001"
    every = "/ip4/0.0.0.0" if match["version"] == "4" else "/ip6/::"
    return f"{every}/tcp/{match['port']}{match['ws'] or ''}"


def without_peer(address: str) -> str:
    """Return a multiaddr without its `/p2p/…` suffix."""
    return address.split("/p2p/", 1)[0]


def _at(address: str, hosts: Collection[str]) -> list[str]:
    """Return the address with its unspecified host replaced by each host of its family."""
    match = _LISTEN.match(address)
    assert match is not None
    version, rest = int(match["version"]), f"/tcp/{match['port']}{match['ws'] or ''}"
    found = [host for host in map(ipaddress.ip_address, hosts) if host.version == version]
    return [f"/ip{version}/{host}{rest}" for host in sorted(found, key=int)]


def _is_present(address: str, hosts: Collection[str]) -> bool:
    match = _LISTEN.match(address)
    return match is None or is_loopback(address) or str(ipaddress.ip_address(match["host"])) in hosts


def _is_unspecified(address: str) -> bool:
    match = _LISTEN.match(address)
    return match is not None and ipaddress.ip_address(match["host"]).is_unspecified


def _parse(address: str) -> tuple[str, int]:
    match = _LISTEN.match(address)
    if match is not None:
        try:
            host = str(ipaddress.ip_address(match["host"]))
        except ValueError:
            host = ""
        port = int(match["port"])
        if host and port < 2**16 and (":" in host) == (match["version"] == "6"):
            return host, port
    raise ConfigurationError(f"{address!r} is not an address to listen on: write for example {_EXAMPLE}")


def _explain(error: OSError, host: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            free = _free_port(host)
            return "the port is in use: stop the program that uses it, or choose another port" + (
                f", such as {free}, which is free now" if free else ""
            )
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address: use one of its own, or /ip4/0.0.0.0 for all"
        case errno.EACCES:
            return "ports below 1024 need privileges: choose a higher one"
        case number:
            return os.strerror(number or 0)


def _free_port(host: str) -> int:
    """Return a port that can be bound on the host now, or 0."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError:
        return 0
