"""Noise XX by hand, both sides; it knows no sockets, and checks nothing but what the ciphers check."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_NOISE_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
_STATIC = X25519PrivateKey.generate()
STATIC_PUBLIC = _STATIC.public_key().public_bytes_raw()
"""One static key serves every identity of this process: each signs it."""


class Handshake:
    """The initiator's side of Noise XX: three messages, then two ciphers."""

    def __init__(self, prologue: bytes = b"") -> None:
        self._ephemeral = X25519PrivateKey.generate()
        self._chain = self._hash = _NOISE_NAME
        self._cipher: Cipher | None = None
        self._mix_hash(prologue)
        self._their_ephemeral: X25519PublicKey | None = None

    def first(self) -> bytes:
        """Return `-> e`."""
        mine = self._ephemeral.public_key().public_bytes_raw()
        self._mix_hash(mine)
        self._mix_hash(b"")
        return mine

    def second(self, message: bytes) -> bytes:
        """Take `<- e, ee, s, es` and return its payload."""
        self._their_ephemeral = X25519PublicKey.from_public_bytes(message[:32])
        self._mix_hash(message[:32])
        self._mix_key(self._ephemeral.exchange(self._their_ephemeral))
        their_static = X25519PublicKey.from_public_bytes(self._open(message[32:80]))
        self._mix_key(self._ephemeral.exchange(their_static))
        return self._open(message[80:])

    def third(self, payload: bytes) -> bytes:
        """Return `-> s, se` with the payload."""
        assert self._their_ephemeral is not None
        sealed_static = self._seal(STATIC_PUBLIC)
        self._mix_key(_STATIC.exchange(self._their_ephemeral))
        return sealed_static + self._seal(payload)

    def split(self) -> tuple[Cipher, Cipher]:
        """Return the ciphers to send and to receive with."""
        first, second = _derive(self._chain, b"")
        return Cipher(first), Cipher(second)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_key(self, material: bytes) -> None:
        self._chain, key = _derive(self._chain, material)
        self._cipher = Cipher(key)

    def _seal(self, data: bytes) -> bytes:
        assert self._cipher is not None
        sealed = self._cipher.seal(data, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _open(self, data: bytes) -> bytes:
        assert self._cipher is not None
        plain = self._cipher.open(data, self._hash)
        self._mix_hash(data)
        return plain


class AnsweringHandshake(Handshake):
    """The responder's side of Noise XX, for a sink that attackers can be aimed at."""

    def take_first(self, message: bytes) -> None:
        """Take `-> e`."""
        self._their_ephemeral = X25519PublicKey.from_public_bytes(message[:32])
        self._mix_hash(message[:32])
        self._mix_hash(message[32:])

    def answer(self, payload: bytes) -> bytes:
        """Return `<- e, ee, s, es` with the payload."""
        assert self._their_ephemeral is not None
        mine = self._ephemeral.public_key().public_bytes_raw()
        self._mix_hash(mine)
        self._mix_key(self._ephemeral.exchange(self._their_ephemeral))
        sealed_static = self._seal(STATIC_PUBLIC)
        self._mix_key(_STATIC.exchange(self._their_ephemeral))
        return mine + sealed_static + self._seal(payload)

    def take_third(self, message: bytes) -> bytes:
        """Take `-> s, se` and return its payload."""
        their_static = X25519PublicKey.from_public_bytes(self._open(message[:48]))
        self._mix_key(self._ephemeral.exchange(their_static))
        return self._open(message[48:])

    def split(self) -> tuple[Cipher, Cipher]:
        """Return the ciphers to send and to receive with."""
        receive, send = super().split()
        return send, receive


class Cipher:
    """ChaCha20-Poly1305 with Noise's counter."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, data: bytes, bound: bytes = b"") -> bytes:
        return self._cipher.encrypt(self._nonce(), data, bound)

    def open(self, data: bytes, bound: bytes = b"") -> bytes:
        return self._cipher.decrypt(self._nonce(), data, bound)

    def _nonce(self) -> bytes:
        nonce = bytes(4) + self._count.to_bytes(8, "little")
        self._count += 1
        return nonce


def _derive(chain: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Return two keys: HKDF of the Noise specification, section 4.3."""
    temporary = hmac.digest(chain, material, "sha256")
    first = hmac.digest(temporary, b"\x01", "sha256")
    return first, hmac.digest(temporary, first + b"\x02", "sha256")
