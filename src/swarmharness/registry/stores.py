"""Keeps what must outlive a restart: remembered peers and the advert's sequence number; it never uses the network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from swarmharness.errors import ProtocolError
from swarmharness.identity import parse_peer_id
from swarmharness.json_text import read_json
from swarmharness.network.ports import PeerAddress

PEERS_MAX = 256
FILE_BYTES_MAX = 1024 * 1024
_ADDRESSES_MAX = 16
_ADDRESS_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class LoadedPeers:
    """Remembered peers, the latest seen first, and what was wrong with their file, if anything."""

    peers: tuple[PeerAddress, ...]
    problem: str = ""


class PeerStore(Protocol):
    """Remembers peers to join by after a restart."""

    async def load(self) -> LoadedPeers:
        """Return what was saved last; what cannot be read is reported, not raised."""

    async def save(self, peers: Sequence[PeerAddress]) -> None:
        """Replace what is remembered by at most 256 peers, the latest seen first; raises OSError."""


class SequenceStore(Protocol):
    """Remembers the highest sequence number that this node may have signed."""

    async def load(self) -> int:
        """Return the number saved last, or 0."""

    async def save(self, sequence: int) -> None:
        """Replace the number, durably; raises OSError."""


class MemoryPeerStore:
    """Remembers for as long as the object lives."""

    def __init__(self, peers: Sequence[PeerAddress] = ()) -> None:
        self.peers = tuple(peers)

    async def load(self) -> LoadedPeers:
        """See `PeerStore`."""
        return LoadedPeers(self.peers)

    async def save(self, peers: Sequence[PeerAddress]) -> None:
        """See `PeerStore`."""
        self.peers = tuple(peers)[:PEERS_MAX]


class MemorySequenceStore:
    """Remembers for as long as the object lives."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence

    async def load(self) -> int:
        """See `SequenceStore`."""
        return self.sequence

    async def save(self, sequence: int) -> None:
        """See `SequenceStore`."""
        self.sequence = sequence


class FilePeerStore:
    """JSON lines in one file: `{"peer_id": …, "addresses": […]}`; replaced as a whole, so never half-written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> LoadedPeers:
        """See `PeerStore`; a corrupted file is set aside under the name that the problem tells."""
        return await trio.to_thread.run_sync(self._load)

    async def save(self, peers: Sequence[PeerAddress]) -> None:
        """See `PeerStore`."""
        lines = [
            json.dumps({"peer_id": peer.peer_id, "addresses": list(peer.addresses)})
            for peer in tuple(peers)[:PEERS_MAX]
        ]
        await trio.to_thread.run_sync(_replace, self._path, "".join(line + "\n" for line in lines), False)

    def _load(self) -> LoadedPeers:
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            if len(data) > FILE_BYTES_MAX:
                raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
            return LoadedPeers(tuple(_parse(line) for line in data.decode().splitlines()[:PEERS_MAX]))
        except FileNotFoundError:
            return LoadedPeers(())
        except OSError as error:
            return LoadedPeers((), f"remembered peers cannot be read: {self._path}: {error.strerror}")
        except (ValueError, ProtocolError) as error:
            return LoadedPeers((), self._set_aside(str(error)))

    def _set_aside(self, reason: str) -> str:
        aside = self._path.with_suffix(".corrupt")
        try:
            self._path.replace(aside)
        except OSError as error:
            return f"{self._path} is corrupted ({reason}) and cannot be renamed: {error.strerror}; delete it"
        return f"{self._path} was corrupted ({reason}); it is now {aside}, and no peer is remembered"


class FileSequenceStore:
    """One decimal number in a file; a file that holds anything else counts as 0, and the clock takes over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> int:
        """See `SequenceStore`."""
        return await trio.to_thread.run_sync(self._load)

    async def save(self, sequence: int) -> None:
        """See `SequenceStore`."""
        await trio.to_thread.run_sync(_replace, self._path, f"{sequence}\n", True)

    def _load(self) -> int:
        try:
            with self._path.open("rb") as file:
                text = file.read(32).decode("ascii", errors="replace").strip()
        except OSError:
            return 0
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _parse(line: str) -> PeerAddress:
    value = read_json(line)
    if not isinstance(value, dict):
        raise ValueError("a line is not an object")
    peer_id, addresses = value.get("peer_id"), value.get("addresses")
    if not isinstance(peer_id, str) or not isinstance(addresses, list):
        raise ValueError("a line lacks peer_id or addresses")
    if len(addresses) > _ADDRESSES_MAX or not all(
        isinstance(address, str) and 0 < len(address) <= _ADDRESS_CHARS_MAX for address in addresses
    ):
        raise ValueError("a line has addresses that are none")
    return PeerAddress(parse_peer_id(peer_id), tuple(addresses))


def _replace(path: Path, text: str, durable: bool) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
