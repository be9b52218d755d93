"""The HELLO that opens a channel, and how two ends agree on a version; pure: it never sends anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import Range, Size

CHANNEL_VERSION = 1
WINDOW_BYTES_LEAST = 64 * 1024
WINDOW_BYTES_MOST = 1 << 30
VERSION_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame both ways."""

    versions: Annotated[tuple[Annotated[int, Range(1, VERSION_MOST)], ...], Size(16, 1)]
    """The channel versions that the sender speaks."""
    software: Annotated[str, Size(64)]
    """Name and version, for people; decides nothing."""
    window_bytes: Annotated[int, Range(WINDOW_BYTES_LEAST, WINDOW_BYTES_MOST)]
    """How many request bytes the receiver of this HELLO may have unfinished at the sender of it."""


def agree(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    """Return the highest version that both speak, or raise ProtocolError that says what to upgrade."""
    common = set(ours) & set(theirs)
    if not common:
        raise ProtocolError(
            f"the peer speaks channel versions {sorted(set(theirs))}, this node {sorted(set(ours))}: upgrade the older"
        )
    return max(common)
