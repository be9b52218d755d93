"""Reads the `[routing]` table of a TOML file as a policy to rank or replay with; it starts nothing and keeps nothing.

The file may be a whole `node.toml`, or hold that one table. Unlike there, every weight of the policy's form must be
written: two policies are compared by what they say, not by what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from swarmharness.errors import ConfigurationError
from swarmharness.node.config import Config
from swarmharness.node.config_file import read_text
from swarmharness.node.config_schema import Source, documented, read_table, suggestion, toml_table
from swarmharness.routing.policy import ADDITIVE_WEIGHTS, COMPLETION_WEIGHTS, RoutingPolicy


def read_policy(path: Path) -> RoutingPolicy:
    """Return the policy in a file; raises ConfigurationError that names file, line, key and what is allowed."""
    source = Source(str(path), read_text(path)[0])
    table = toml_table(source)
    known = {declared.name: declared for declared in fields(Config)}
    for name in table:
        if name not in known:
            raise source.error((name,), f"is not a known table{suggestion(name, known)}")
    if "routing" not in table:
        raise ConfigurationError(f"{path}: [routing] is missing; a policy is that table of node.toml")
    return read_table(_PolicyFile, {"routing": table["routing"]}, source, ()).routing


def _whole_policy(table: Mapping[str, Any]) -> RoutingPolicy:
    policy = RoutingPolicy.from_mapping(table)
    weights = ADDITIVE_WEIGHTS if policy.form == "additive" else COMPLETION_WEIGHTS
    missing = [name for name in weights if name not in table]
    if missing:
        raise ConfigurationError(
            f"has no {', '.join(missing)}; write every weight of the form {policy.form}: {', '.join(weights)}"
        )
    return policy


@dataclass(frozen=True, slots=True)
class _PolicyFile:
    routing: RoutingPolicy = field(metadata=documented("The policy.", read=_whole_policy))
