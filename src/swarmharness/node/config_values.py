"""Judges single values of the configuration: addresses, peer ids, skill names; it knows no key and does no I/O.

Each function says in words what is wrong with a text, or returns None; the words follow the name of a key or a flag.
"""

from __future__ import annotations

import ipaddress
import re

from swarmharness.errors import ConfigurationError, ProtocolError
from swarmharness.identity import parse_peer_id
from swarmharness.registry.invite import parse_join_target

_SKILL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LISTEN = re.compile(r"/(?:ip4|ip6)/([0-9a-fA-F.:]+)/tcp/(\d{1,5})(?:/ws)?")
_REMOTE = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/\s]{1,253})/tcp/(\d{1,5})(?:/ws|/wss|/tls/ws)?")


def complain_about_listen(text: str) -> str | None:
    """Say why `text` is not an address to listen on, or None."""
    example = "; an example is /ip4/127.0.0.1/tcp/4001 or, for browsers, /ip4/127.0.0.1/tcp/4002/ws"
    found = _LISTEN.fullmatch(text)
    if not found:
        return f'has "{text}", which is not an address to listen on{example}'
    try:
        prefix = f"/ip{ipaddress.ip_address(found.group(1)).version}/"
    except ValueError:
        prefix = ""
    if not prefix or not text.startswith(prefix):
        return f'has "{text}", whose IP address is not one{example}'
    return _complain_about_port(text, found.group(2))


def complain_about_remote(text: str) -> str | None:
    """Say why `text` is not the address of another node without its peer id, or None."""
    found = _REMOTE.fullmatch(text)
    if not found:
        return f'has "{text}", which is not an address; an example is /ip4/192.0.2.7/tcp/4001'
    return _complain_about_port(text, found.group(2))


def complain_about_join(text: str) -> str | None:
    """Say why `text` is neither a genuine invite nor the full address of a node, or None; it may have expired."""
    try:
        parse_join_target(text, now_unix_s=0)
    except ConfigurationError as error:
        return f"cannot be used: {error}"
    return None


def complain_about_peer(text: str) -> str | None:
    """Say why `text` is not a peer id, or None."""
    try:
        parse_peer_id(text)
    except ProtocolError:
        return f'has "{text}", which is not a peer id; they begin with 12D3Koo (see `swarmharness peers`)'
    return None


def complain_about_skill(text: str) -> str | None:
    """Say why `text` is neither a skill name nor `*`, or None."""
    if text == "*" or _SKILL.fullmatch(text):
        return None
    return f'has "{text}"; a skill name has lower-case letters, digits, ".", "_" and "-"; "*" means all'


def _complain_about_port(text: str, port: str) -> str | None:
    return None if int(port) <= 65535 else f'has "{text}", whose port is above 65535'


def complain_about_provider(text: str) -> str | None:
    """Say why `text` cannot be the name of an ONNX Runtime execution provider or `auto`, or None."""
    return None if re.fullmatch(r"\w{1,64}", text) else f'has "{text}", which is not the name of a provider'
