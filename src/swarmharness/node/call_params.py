"""Reads the parameters of a control call, which are any MessagePack values; it answers nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmharness.errors import InputError


def param(params: Mapping[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    """Return a parameter of this type, or the default if it was not given; raises InputError."""
    value = params.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"parameter {name!r} is missing or of the wrong type")
    return value
