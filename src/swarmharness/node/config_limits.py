"""The keys of `[limits]`: those about calls and payloads here, all before them in its bases; it enforces nothing.

The order of the bases is that of the file: connections, streams, multiplexer, DHT, broadcasts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from swarmharness.network.limits import Limits
from swarmharness.node.config_broadcast import BroadcastConfig
from swarmharness.node.config_schema import key

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class LimitsConfig(BroadcastConfig):
    """`[limits]`."""

    calls_max: int = key(_LIMITS.calls_max, "Calls of others in progress here.", least=16, most=1_048_576)
    calls_of_strangers_max: int = key(
        _LIMITS.calls_of_strangers_max, "How many of them strangers may have together.", least=16, most=1_048_576
    )
    call_time_max_s: float = key(
        _LIMITS.call_time_max_s,
        "Seconds that one call may take here, however long its caller would wait.",
        least=60,
        most=2_592_000,
    )
    work_known_percent: float = key(
        _LIMITS.work_known_percent,
        "Share of the processor's time that one known node's calls may take before it waits for others that wait;\n"
        "alone it may have all. What calls cost is estimated.",
        least=0.1,
        most=100,
    )
    work_stranger_percent: float = key(_LIMITS.work_stranger_percent, "The same for one stranger.", least=0.1, most=100)
    work_strangers_percent: float = key(
        _LIMITS.work_strangers_percent, "The same for all strangers together.", least=0.1, most=100
    )
    strangers_payload_mib: int = key(
        _LIMITS.strangers_payload_mib,
        "MiB for payloads of all strangers and answers that they do not read; one may have two thirds of what the\n"
        "others leave. Nodes that this one knows share twice network.bulk_max_mib.",
        least=1,
        most=1_048_576,
    )

    @property
    def settings(self) -> Limits:
        """What the network goes by."""
        return Limits(**{item.name: getattr(self, item.name) for item in fields(Limits)})
