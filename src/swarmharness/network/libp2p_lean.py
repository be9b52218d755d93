"""A shorter path through libp2p's Noise session for the same bytes on the wire; it changes no protocol.

libp2p 0.8.1 passes the scheduler several times for each message, which is a large part of a call's time.
"""

from __future__ import annotations

from typing import Any

from libp2p.io.utils import read_exactly
from libp2p.security.secure_session import SecureSession

from swarmharness.network.libp2p_link import Link

NOISE_BYTES_MAX = 65_519
"""Plain bytes of one Noise message: 65,535 less the tag."""


class LeanSession(SecureSession):  # type: ignore[misc]
    """A Noise session that reads messages out of the link's buffer and writes each in one piece."""

    def __init__(self, session: SecureSession, raw: Any, link: Link | None) -> None:
        super().__init__(
            local_peer=session.get_local_peer(),
            local_private_key=session.get_local_private_key(),
            remote_peer=session.get_remote_peer(),
            remote_permanent_pubkey=session.get_remote_public_key(),
            is_initiator=session.is_initiator,
            conn=session.conn,
        )
        self.link: Link | None = link
        """The connection below, for whoever counts its use."""
        self._raw = raw
        self._take = link.take if link is not None else self._take_slowly
        self._send = link.write if link is not None else raw.write
        self._encrypt = session.conn.encrypt
        self._decrypt = session.conn.decrypt
        self._plain = b""
        self._start = 0

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes, or one message's worth; raises ConnectionClosedError at the end."""
        if n is None:
            return await self.read_message()
        ready = self._take_ready(n)
        if ready is not None:
            return ready
        rest = self._plain[self._start :]
        parts, have = [rest], len(rest)
        while have < n:
            message = await self._message()
            parts.append(message)
            have += len(message)
        data = b"".join(parts)
        self._plain, self._start = data, n
        return data[:n]

    def _take_ready(self, n: int) -> bytes | None:
        end = self._start + n
        if end > len(self._plain):
            return None
        data = self._plain[self._start : end]
        self._start = end
        return data

    async def read_message(self) -> bytes:
        """Return what was decrypted and not read, or the next message; raises ConnectionClosedError at the end."""
        rest = self._plain[self._start :]
        self._plain, self._start = b"", 0
        return rest or await self._message()

    async def write(self, data: bytes) -> None:
        """Encrypt and send, in one write however many Noise messages it takes."""
        if len(data) <= NOISE_BYTES_MAX:
            sealed = self._encrypt(data)
            await self._send(len(sealed).to_bytes(2, "big") + sealed)
            return
        parts = []
        for start in range(0, len(data), NOISE_BYTES_MAX):
            sealed = self._encrypt(bytes(data[start : start + NOISE_BYTES_MAX]))
            parts += [len(sealed).to_bytes(2, "big"), sealed]
        await self._send(b"".join(parts))

    async def _message(self) -> bytes:
        size = int.from_bytes(await self._take(2), "big")
        plain: bytes = self._decrypt(await self._take(size))
        return plain

    async def _take_slowly(self, n: int) -> bytes:
        data: bytes = await read_exactly(self._raw, n)
        return data
