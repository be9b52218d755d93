"""SwarmHarness: idle devices become one swarm for AI inference; importing this package loads nothing heavy.

    async with swarmharness.connect() as swarm: ...       # in a trio program
    with swarmharness.connect_sync() as swarm: ...        # in a script, a notebook or a thread

See docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "Credit",
    "DeadlineError",
    "FileType",
    "InputError",
    "PartialResultError",
    "Peer",
    "PeerBalance",
    "PeerCredit",
    "PeerLostError",
    "PeerSkill",
    "Progress",
    "RefusedError",
    "Result",
    "ResultStream",
    "Swarm",
    "SwarmError",
    "SyncSwarm",
    "TextLine",
    "UnavailableError",
    "__version__",
    "connect",
    "connect_sync",
]

if TYPE_CHECKING:
    from swarmharness.client.blocking import SyncSwarm, connect_sync
    from swarmharness.client.connecting import connect
    from swarmharness.client.records import Credit, Peer, PeerBalance, PeerCredit, PeerSkill, Progress, Result
    from swarmharness.client.stream import ResultStream
    from swarmharness.client.swarm import Swarm
    from swarmharness.client.values import FileType, TextLine
    from swarmharness.errors import (
        ConfigurationError,
        DeadlineError,
        InputError,
        PartialResultError,
        PeerLostError,
        RefusedError,
        SwarmError,
        UnavailableError,
    )

_MODULES = {
    "client.blocking": ("SyncSwarm", "connect_sync"),
    "client.connecting": ("connect",),
    "client.records": ("Credit", "Peer", "PeerBalance", "PeerCredit", "PeerSkill", "Progress", "Result"),
    "client.stream": ("ResultStream",),
    "client.swarm": ("Swarm",),
    "client.values": ("FileType", "TextLine"),
    "errors": (
        "ConfigurationError",
        "DeadlineError",
        "InputError",
        "PartialResultError",
        "PeerLostError",
        "RefusedError",
        "SwarmError",
        "UnavailableError",
    ),
}
"""Where each public name is defined: it is imported when it is first used (PEP 562)."""


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            value: object = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
