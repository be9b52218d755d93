"""All attacks by name; a module of attacks that is new is imported here."""

from __future__ import annotations

from importlib import import_module

from tests.hostile.attack import ATTACKS

__all__ = ["ATTACKS"]

for _part in ("connection", "yamux", "channel", "dht", "gossip", "credit", "websocket"):
    import_module(f"tests.hostile.attacks_{_part}")
