"""Writes the configuration file that documents every key with its default; it never reads one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

from swarmharness.node.config import Config
from swarmharness.node.config_schema import default_of, key_of
from swarmharness.routing.policy import RoutingPolicy, policy_toml

_HEAD = """\
# The configuration of a SwarmHarness node: every key, what it means, and its default.
# `swarmharness config init` writes this file; `swarmharness config check` finds mistakes in an edited one.
# A key that is left out keeps its default.
"""


def render(config: Config | None = None) -> str:
    """Return the TOML text of `config`, by default of the defaults, with the documentation of every key."""
    shown = config or Config()
    parts = [_HEAD]
    tables: list[str] = []
    for declared in fields(Config):
        value = getattr(shown, declared.name)
        if isinstance(value, RoutingPolicy):
            tables.append(f"{_comment(key_of(declared).doc)}[{declared.name}]\n\n{policy_toml(value)}")
        elif is_dataclass(value):
            tables.append(_table((declared.name,), declared, value))
        else:
            parts.append(_entry(declared, value))
    return "\n".join([*parts, *tables])


def _table(path: tuple[str, ...], declared: Field[Any], value: Any) -> str:
    inner = [(item, getattr(value, item.name)) for item in fields(value)]
    entries = [_entry(item, content) for item, content in inner if not isinstance(content, Mapping)]
    nested = [_mapping((*path, item.name), item, content) for item, content in inner if isinstance(content, Mapping)]
    return "\n".join([_comment(key_of(declared).doc) + f"[{'.'.join(path)}]\n", *entries, *nested])


def _mapping(path: tuple[str, ...], declared: Field[Any], value: Mapping[str, Any]) -> str:
    entries = "".join(f"{_quoted_if_needed(name)} = {_literal(content)}\n" for name, content in value.items())
    return f"{_comment(key_of(declared).doc)}[{'.'.join(path)}]\n{entries}"


def _entry(declared: Field[Any], value: Any) -> str:
    limits = key_of(declared)
    allowed = f"Allowed: {limits.allowed()}." if limits.allowed() else ""
    default = default_of(declared)
    changed = f"Default: {_literal(default)}." if value != default else ""
    return _comment(limits.doc, allowed, changed) + f"{declared.name} = {_literal(value)}\n"


def _comment(*texts: str) -> str:
    return "".join(f"# {line}\n" for text in texts for line in text.splitlines())


def _quoted_if_needed(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _literal(value: Any) -> str:
    # JSON's strings, numbers, booleans and flat lists are also TOML's.
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_quoted_if_needed(name)} = {_literal(content)}" for name, content in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
