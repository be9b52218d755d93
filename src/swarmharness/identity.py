"""Peer ids, Ed25519 keys and signatures; it never touches the disk and never imports libp2p."""

from __future__ import annotations

from functools import lru_cache
from typing import NewType, Protocol

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarmharness.errors import ProtocolError

PeerId = NewType("PeerId", str)
"""The base58 text of a libp2p peer id (`12D3Koo…`); it contains the whole Ed25519 public key."""

# libp2p peer id of an Ed25519 key: identity multihash (0x00, length 0x24) of the key's protobuf
# (type = Ed25519, data = 32 raw bytes). https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
_PREFIX = bytes.fromhex("002408011220")
_PEER_ID_CHARS_MAX = 64

SIGNATURE_BYTES = 64
SEED_BYTES = 32


class Signer(Protocol):
    """Whoever holds a private key: the node's identity, or a simulated one."""

    @property
    def peer_id(self) -> PeerId:
        """The id that the signatures verify against."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""


class Identity:
    """A private key in memory, made from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._peer_id = peer_id_of(self._key.public_key().public_bytes_raw())

    @property
    def peer_id(self) -> PeerId:
        """See `Signer`."""
        return self._peer_id

    def sign(self, message: bytes) -> bytes:
        """See `Signer`."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self._peer_id})"


def peer_id_of(public_key: bytes) -> PeerId:
    """Return the peer id of a raw 32-byte Ed25519 public key."""
    return PeerId(base58.b58encode(_PREFIX + public_key).decode())


def parse_peer_id(text: str) -> PeerId:
    """Return `text` as a peer id; raises ProtocolError unless it is the id of an Ed25519 key."""
    _public_key(text)
    return PeerId(text)


def peer_id_from(data: bytes) -> PeerId:
    """Return the peer id that bytes hold as libp2p has them; ProtocolError as `parse_peer_id`, whatever their length.

    Its text takes the square of their number to work out, half an hour for a megabyte.
    """
    if len(data) != len(_PREFIX) + 32 or not data.startswith(_PREFIX):
        raise ProtocolError(f"{len(data)} bytes are not the peer id of an Ed25519 key")
    return peer_id_of(data[len(_PREFIX) :])


def verify(peer_id: str, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` over `message` is by the key inside `peer_id`; a malformed id verifies nothing."""
    try:
        _public_key(peer_id).verify(signature, message)
    except (InvalidSignature, ProtocolError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(peer_id: str) -> Ed25519PublicKey:
    raw = b""
    if len(peer_id) <= _PEER_ID_CHARS_MAX:
        try:
            raw = base58.b58decode(peer_id)
        except ValueError:
            raw = b""
    # b58decode ignores white space at the end: without the comparison one key would have many ids.
    if len(raw) != len(_PREFIX) + 32 or not raw.startswith(_PREFIX) or base58.b58encode(raw).decode() != peer_id:
        raise ProtocolError(
            f"{peer_id[:_PEER_ID_CHARS_MAX]!r} is not the peer id of an Ed25519 key (it should begin with 12D3Koo)"
        )
    return Ed25519PublicKey.from_public_bytes(raw[len(_PREFIX) :])
