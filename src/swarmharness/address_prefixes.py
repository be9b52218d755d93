"""The prefixes that an IP address is counted under; pure, and it looks up nothing."""

from __future__ import annotations

import ipaddress


def prefixes(host: str, *, loopback: bool) -> tuple[str, str]:
    """Return what an address is counted under: itself and its /24, or for IPv6 itself and its /56.

    Both are empty for loopback, unless that counts too, and for what is no address.
    """
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return "", ""
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback and not loopback:
        return "", ""
    network = ipaddress.ip_network((address, 24 if address.version == 4 else 56), strict=False)
    return f"{address}/{address.max_prefixlen}", str(network)


def shared_network(host: str, *, loopback: bool) -> str:
    """Return the network whose strangers share what one stranger may take up; empty where each has its own share.

    In a private network (RFC 1918, RFC 4193) nearly all know each other, and many are behind few addresses.
    """
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return ""
    address = getattr(address, "ipv4_mapped", None) or address
    return prefixes(host, loopback=loopback)[1] if address.is_global or address.is_loopback else ""
