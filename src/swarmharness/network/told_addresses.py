"""Which addresses that a peer tells of are worth keeping; pure, and it dials none.

Whoever is reached over the internet cannot know who else is in this node's own network: what it tells of private
addresses would make this node knock on doors at home.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from enum import IntEnum

ADDRESSES_MAX = 8
"""Of one peer in one message."""
ADDRESS_BYTES_MAX = 256
"""In binary form; a longer one takes long to be made into text."""
_ADDRESS = re.compile(
    r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[0-9A-Za-z.:_-]{1,253})/tcp/(?P<port>\d{1,5})(/ws|/wss|/tls/ws)?"
    r"(/p2p/[0-9A-Za-z]{1,64})?\Z"
)


class Scope(IntEnum):
    """From how far an address can be reached."""

    MACHINE = 0
    LINK = 1
    PRIVATE = 2
    PUBLIC = 3


def scope_of(host: str) -> Scope:
    """Return the scope of an IP address; what is none counts as public."""
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return Scope.PUBLIC
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return Scope.MACHINE
    if address.is_link_local:
        return Scope.LINK
    return Scope.PUBLIC if address.is_global else Scope.PRIVATE


def of_use(addresses: Iterable[str], teller_host: str, most: int = ADDRESSES_MAX) -> tuple[str, ...]:
    """Return the first `most` addresses that can be dialled and that a peer connected from `teller_host` can know of.

    An empty `teller_host` is one that nobody knows: nothing but public addresses is taken then.
    """
    least = scope_of(teller_host) if teller_host else Scope.PUBLIC
    found: list[str] = []
    for text in addresses:
        match = _ADDRESS.match(text)
        if match is None or not 0 < int(match["port"]) < 2**16 or text in found:
            continue
        if match["kind"] in ("ip4", "ip6") and not _fits(match["host"], match["kind"], least):
            continue
        found.append(text)
        if len(found) == most:
            break
    return tuple(found)


def _fits(host: str, kind: str, least: Scope) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.version != int(kind[2]):
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        return False
    return scope_of(host) >= least
