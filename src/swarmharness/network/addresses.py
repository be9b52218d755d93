"""Multiaddrs as text: which ones a node may listen on, and which concrete ones it announces; it opens no connection."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Sequence

from swarmharness.errors import ConfigurationError

_LISTEN = re.compile(r"/ip(?P<version>[46])/(?P<host>[0-9A-Fa-f.:]+)/tcp/(?P<port>\d{1,5})(?P<ws>/ws)?\Z")
_ADDRESSES_MAX = 16
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
            raise ConfigurationError(f"cannot listen on {address}: {_explain(error)}") from None


def concrete(address: str, interfaces: Sequence[str]) -> tuple[str, ...]:
    """Return `address` with an unspecified host (0.0.0.0, ::) replaced by each of the interfaces' addresses."""
    match = _LISTEN.match(address)
    if match is None or not ipaddress.ip_address(match["host"]).is_unspecified:
        return (address,)
    version = int(match["version"])
    rest = f"/tcp/{match['port']}{match['ws'] or ''}"
    hosts = [host for host in interfaces if ipaddress.ip_address(host).version == version]
    loopback_last = sorted(hosts, key=lambda host: ipaddress.ip_address(host).is_loopback)
    return tuple(f"/ip{version}/{host}{rest}" for host in loopback_last[:_ADDRESSES_MAX])


def without_peer(address: str) -> str:
    """Return a multiaddr without its `/p2p/…` suffix."""
    return address.split("/p2p/", 1)[0]


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


def _explain(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use: stop the program that uses it, or choose another port (0 picks a free one)"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address: use one of its own, or /ip4/0.0.0.0 for all"
        case errno.EACCES:
            return "ports below 1024 need privileges: choose a higher one"
        case number:
            return os.strerror(number or 0)
