"""Says which keys of two configurations differ, and which of those take effect without a restart; it applies none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from swarmharness.node.config import Config
from swarmharness.routing.policy import RoutingPolicy

_LIVE_TABLES = frozenset({"owner", "routing", "trace"})
_LIVE_KEYS = frozenset(
    {
        "network.allow",
        "network.deny",
        "credit.own_peers",
        "credit.stranger_budget_microcredits",
        "credit.lines",
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """One key with two values, as plain values."""

    name: str
    """With its table, as in `jobs.deadline_s`."""
    before: Any
    after: Any

    @property
    def live(self) -> bool:
        """Whether a running node goes by the new value within seconds."""
        return self.name in _LIVE_KEYS or self.name.partition(".")[0] in _LIVE_TABLES


def changes(before: Config, after: Config) -> list[Change]:
    """Return the keys whose values differ, in the order of the file."""
    return changed_values(flat(before), flat(after))


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two results of `flat`; a key that only one version knows is left out."""
    return [Change(name, before[name], value) for name, value in after.items() if before.get(name, value) != value]


def flat(config: Config) -> dict[str, Any]:
    """Return every key with its table, and its value as JSON has it."""
    found: dict[str, Any] = {}
    for table in fields(config):
        value = getattr(config, table.name)
        if isinstance(value, RoutingPolicy):
            found.update({f"{table.name}.{name}": _plain(one) for name, one in value.as_mapping().items()})
        elif is_dataclass(value):
            found.update({f"{table.name}.{one.name}": _plain(getattr(value, one.name)) for one in fields(value)})
        else:
            found[table.name] = _plain(value)
    return found


class InForce:
    """What a running node goes by: the configuration of its start, and what of later ones is live."""

    def __init__(self, started: Config) -> None:
        self._started, self._latest = started, started

    def changed(self, latest: Config) -> None:
        """Hear what the file says now."""
        self._latest = latest

    def values(self) -> dict[str, Any]:
        """Return every key with the value in force."""
        values = flat(self._started)
        values.update({change.name: change.after for change in changes(self._started, self._latest) if change.live})
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (tuple, list)) else value
