"""Invites: the one line with which a node joins a swarm; made and read here, and never acted upon.

`swarm1` and the base58 of: a MessagePack array, the inviter's signature over it, and four bytes of SHA-256 that
catch a line that was cut or mistyped before anything else is tried.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

import base58

from swarmharness.errors import ConfigurationError, ProtocolError
from swarmharness.identity import SIGNATURE_BYTES, PeerId, Signer, parse_peer_id, verify
from swarmharness.network.ports import PeerAddress
from swarmharness.protocol.codec import Count, PeerText, Size, decode, encode

PREFIX = "swarm1"
INVITE_CHARS_MAX = 4096
TOKEN_BYTES = 16

_DOMAIN = b"swarmharness/invite/1\x00"
_CHECKSUM_BYTES = 4
_ADDRESS = re.compile(
    r"(/(?:ip4|ip6|dns|dns4|dns6)/[^/\s]{1,253}/tcp/\d{1,5}(?:/ws|/wss|/tls/ws)?)/(?:p2p|ipfs)/([^/\s]{1,64})"
)
_PSK = Annotated[bytes, Size(32, 32)]
_TOKEN = Annotated[bytes, Size(TOKEN_BYTES, TOKEN_BYTES)]


@dataclass(frozen=True, slots=True)
class Invite:
    """What an invite says. Whoever holds it can join: it is a secret if it carries a key or a credit line."""

    peer_id: PeerText
    """The inviter."""
    addresses: Annotated[tuple[Annotated[str, Size(256, 1)], ...], Size(16, 1)]
    """Where the inviter can be reached: multiaddrs without `/p2p/…`."""
    pre_shared_key: _PSK | None
    """The key of a private swarm."""
    credit_line_microcredits: Count
    """How much the joining node may owe the inviter; 0 if nothing."""
    token: _TOKEN
    """Tells this invite from others of the same inviter, so that each can be used once and withdrawn."""
    expires_unix_s: Count
    """When it stops being valid; 0 means never."""


@dataclass(frozen=True, slots=True)
class JoinTarget:
    """Where to join: a node, and the invite that named it, if it was one."""

    peer: PeerAddress
    invite: Invite | None = None


def invite_text(invite: Invite, signer: Signer) -> str:
    """Return the one line; raises ValueError unless the signer is the inviter."""
    if invite.peer_id != signer.peer_id:
        raise ValueError(f"{signer.peer_id} cannot invite in the name of {invite.peer_id}")
    body = encode(invite)
    data = body + signer.sign(_DOMAIN + body)
    encoded: bytes = base58.b58encode(data + _checksum(data))
    return PREFIX + encoded.decode()


def parse_invite(text: str) -> Invite:
    """Return the invite in a line; raises ConfigurationError that says what is wrong with it."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise ConfigurationError(f"{_short(text)} is not an invite: it should begin with {PREFIX}")
    if len(text) > INVITE_CHARS_MAX:
        raise ConfigurationError(f"the invite has {len(text)} characters, allowed are {INVITE_CHARS_MAX}")
    try:
        data = base58.b58decode(text[len(PREFIX) :])
    except ValueError:
        raise ConfigurationError(
            f"the invite {_short(text)} has characters that no invite has; copy it again"
        ) from None
    data, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if checksum != _checksum(data):
        raise ConfigurationError(f"the invite {_short(text)} was cut or changed on its way; copy the whole line again")
    body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    try:
        invite = decode(Invite, body)
    except ProtocolError as error:
        raise ConfigurationError(f"the invite {_short(text)} is not one that this version reads: {error}") from None
    if not verify(invite.peer_id, _DOMAIN + body, signature):
        raise ConfigurationError(f"the invite {_short(text)} was not signed by the node that it names; ask for another")
    return invite


def parse_join_target(text: str, *, now_unix_s: int) -> JoinTarget:
    """Return where an invite, or an address that ends in `/p2p/<peer id>`, leads; raises ConfigurationError."""
    text = text.strip()
    if not text.startswith("/"):
        invite = parse_invite(text)
        if 0 < invite.expires_unix_s < now_unix_s:
            raise ConfigurationError(f"the invite {_short(text)} has expired; ask its sender for a new one")
        return JoinTarget(PeerAddress(PeerId(invite.peer_id), invite.addresses), invite)
    found = _ADDRESS.fullmatch(text)
    if not found or int(found.group(1).split("/")[4]) > 65_535:
        raise ConfigurationError(
            f"{_short(text)} is neither an invite nor the full address of a node, "
            "such as /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…"
        )
    try:
        return JoinTarget(PeerAddress(parse_peer_id(found.group(2)), (found.group(1),)))
    except ProtocolError as error:
        raise ConfigurationError(f"{_short(text)}: {error}") from None


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:_CHECKSUM_BYTES]


def _short(text: str) -> str:
    """Name an invite without giving its secret away."""
    shown = text if text.startswith("/") and len(text) <= 160 else text[:12] + "…"
    return repr(shown)
