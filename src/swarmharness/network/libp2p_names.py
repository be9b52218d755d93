"""Lets libp2p load and run on a machine that has no name server (yet); import it before anything of libp2p.

libp2p reads /etc/resolv.conf when it is imported and when a host is made, and raises if that names nobody to ask, as
before a network is up. A name that is looked up then is one that cannot be found; every dial reads the file anew.
"""

from __future__ import annotations

from typing import Any

import dns.asyncresolver
import dns.resolver
import multiaddr.resolvers.dns as multiaddr_dns


def _init(self: Any) -> None:
    try:
        self._resolver = dns.asyncresolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        self._resolver = dns.asyncresolver.Resolver(configure=False)


multiaddr_dns.DNSResolver.__init__ = _init
