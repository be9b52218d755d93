"""Remembers which signatures are genuine, so that a simulation checks identical signed bytes once; it forges nothing.

Within `remembered_signatures` a signature that a simulated key made, or that was verified before, is looked up; any
other bytes are verified as ever. What is signed and passed on is decoded once, too, and the nodes share the result,
which nobody can change. The names that this needs are `identity._public_key` and `codec.decoded_once`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from swarmharness import identity
from swarmharness.identity import Identity, PeerId
from swarmharness.protocol import codec

REMEMBERED_MAX = 100_000
DECODED_MAX = 65_536


class SignatureMemory:
    """Genuine (signature, message, key) triples, the oldest forgotten first."""

    def __init__(self, most: int = REMEMBERED_MAX) -> None:
        self._most = most
        self.known: OrderedDict[bytes, tuple[str, bytes]] = OrderedDict()
        """Whose signature of which message each one is."""

    def add(self, peer_id: str, message: bytes, signature: bytes) -> None:
        """Note a genuine signature."""
        self.known[signature] = peer_id, message
        if len(self.known) > self._most:
            self.known.popitem(last=False)


class SimulatedIdentity(Identity):
    """An identity whose signatures are noted as genuine when they are made."""

    def __init__(self, seed: bytes, memory: SignatureMemory) -> None:
        super().__init__(seed)
        self._memory = memory

    def sign(self, message: bytes) -> bytes:
        """See `Signer`."""
        signature = super().sign(message)
        self._memory.add(self.peer_id, message, signature)
        return signature


@contextmanager
def remembered_signatures(memory: SignatureMemory) -> Iterator[None]:
    """Within the block, `identity.verify` asks the memory first."""
    original = identity._public_key

    @lru_cache(maxsize=65_536)
    def remembered(peer_id: str) -> _RememberedKey:
        return _RememberedKey(PeerId(peer_id), original(peer_id), memory)

    identity._public_key = remembered  # type: ignore[assignment]
    codec.decoded_once = cast("Callable[[type[Any], bytes], Any]", lru_cache(maxsize=DECODED_MAX)(codec.decode))
    try:
        yield
    finally:
        identity._public_key = original
        codec.decoded_once = None


class _RememberedKey:
    """A public key in front of which the memory stands."""

    __slots__ = ("_key", "_known", "_memory", "_peer_id")

    def __init__(self, peer_id: PeerId, key: Ed25519PublicKey, memory: SignatureMemory) -> None:
        self._peer_id, self._key, self._memory, self._known = peer_id, key, memory, memory.known

    def verify(self, signature: bytes, message: bytes) -> None:
        """See `Ed25519PublicKey.verify`."""
        if self._known.get(signature) != (self._peer_id, message):
            self._key.verify(signature, message)
            self._memory.add(self._peer_id, message, signature)
