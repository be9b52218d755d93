"""Whom to ask for a second opinion: of the same model and comparison class, apart from those asked before; pure.

The choice is random among all that the router names, not among its best: peers that answer without work are quick, and
those in league would soon be the best, and check each other. It prefers peers whose addresses share no prefix (/24 of
IPv4, /48 of IPv6) and no group with those that answered before. This node itself is asked last, unless two others
disagree already: then its answer decides.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence

from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.table import Choice

OWN_PEERS = "own peers"
"""The group of the operator's other nodes."""


def comparable(choice: Choice, skill: SkillAdvert) -> bool:
    """Tell whether a peer's answers may be compared with those for `skill`: int8 and fp32 never are.

    It must take what the other takes; who takes no parameters sets no flags, and is compared with its like.
    """
    other = choice.skill
    if (other.model_digest, other.comparison_class) != (skill.model_digest, skill.comparison_class):
        return False
    return other.takes(skill.parameters) and bool(other.parameters) == bool(skill.parameters)


def neighbourhood(addresses: Iterable[str]) -> frozenset[str]:
    """Return the network prefixes of a node's multiaddrs; whoever shares one may be under the same roof."""
    found = set()
    for address in addresses:
        _, kind, host, *_ = (*address.split("/"), "", "", "")
        if kind in ("ip4", "ip6"):
            try:
                network = ipaddress.ip_network((host, 24 if kind == "ip4" else 48), strict=False)
            except ValueError:
                continue
            found.add(str(network))
        elif kind.startswith("dns"):
            found.add(host)
    return frozenset(found)


def pick(
    choices: Sequence[Choice],
    *,
    asked: Collection[frozenset[str]],
    near: Sequence[frozenset[str]],
    decider: bool,
    draw: int,
) -> Choice | None:
    """Return whom to ask next, or None if there is nobody.

    `choices` are comparable and were not asked yet, best first; `near` are their neighbourhoods, `asked` those of the
    peers that answered. `decider`: two answers disagree. `draw` is uniform in a range of at least 2^32.
    """
    own = next((choice for choice in choices if choice.local), None)
    if decider and own is not None:
        return own
    others = [(choice, where) for choice, where in zip(choices, near, strict=True) if not choice.local]
    apart = [choice for choice, where in others if not any(where & known for known in asked)]
    pool = apart or [choice for choice, _ in others]
    return pool[draw % len(pool)] if pool else own
