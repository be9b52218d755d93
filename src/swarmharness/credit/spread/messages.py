"""The messages by which receipts and fork proofs spread, and their methods; pure, it holds only the wire form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from swarmharness.credit.forks import ForkProof
from swarmharness.credit.receipt import Epoch, Receipt
from swarmharness.credit.spread.key_index import FINGERPRINT_BYTES, KEY_BYTES
from swarmharness.credit.spread.ranges import BRANCHES, ID_BYTES, LEAF_KEYS_MAX
from swarmharness.protocol.codec import Count, Embedded, PeerText, Range, Size
from swarmharness.protocol.method import Method

FORKS_TOPIC = "/swarmharness/forks/1"
"""Fork proofs are broadcast on it."""

BATCH_MAX = 64
"""Receipts of one message, about 50 KB."""
RECEIPT_BYTES_MAX = 4_096
"""A receipt of 20 tasks takes less than half of it."""
INTERVALS_MAX = 128
SHORT_BYTES = 8
"""A short id is the beginning of SHA-256 of a peer id's text; whoever forges one confuses only its own comparisons."""
INTERESTS_MAX = 8_192
FORKERS_MAX = 4_096
PROOFS_MAX = 32
FRONTIERS_MAX = 64

Bound = Annotated[bytes, Size(KEY_BYTES)]
ShortIds = Annotated[bytes, Size(SHORT_BYTES * INTERESTS_MAX)]


@dataclass(frozen=True, slots=True)
class Gossip:
    """Receipts that the reader may need; it checks every one."""

    VERSION = 2

    receipts: Annotated[tuple[Annotated[Receipt, Embedded(RECEIPT_BYTES_MAX)], ...], Size(BATCH_MAX)]


@dataclass(frozen=True, slots=True)
class GossipAnswer:
    """How many receipts of a Gossip were new and are stored now, and whose will be welcome from now on."""

    VERSION = 2

    stored: Annotated[int, Range(0, BATCH_MAX)]
    interests: ShortIds
    """See `Opening`."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What both sides tell each other before they compare their receipts."""

    oldest_epoch: Epoch
    """Older receipts are of no interest."""
    interests: ShortIds
    """Ascending short ids of the peers all of whose receipts the sender keeps: itself and whom it follows (C-19)."""
    forkers: Annotated[bytes, Size(SHORT_BYTES * FORKERS_MAX)]
    """Ascending short ids of the peers that the sender knows to have forked."""
    proofs: Annotated[tuple[ForkProof, ...], Size(PROOFS_MAX)]
    """In an answer, proofs that the asker lacks."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """The first place of a chain that its reader lacks: this one and what follows, in later incarnations too."""

    signer: PeerText
    incarnation: Count
    number: Count


@dataclass(frozen=True, slots=True)
class ChainsRequest:
    """Asks for receipts from these places on."""

    frontiers: Annotated[tuple[Frontier, ...], Size(FRONTIERS_MAX)]


@dataclass(frozen=True, slots=True)
class RangeBounds:
    """The keys k with lower <= k < upper."""

    lower: Bound
    upper: Bound


@dataclass(frozen=True, slots=True)
class RangesRequest:
    """Asks what the peer has in intervals in which the sets differ."""

    scope: Annotated[bytes, Size(SHORT_BYTES, SHORT_BYTES)]
    """Names the peers whose receipts are compared: those in the interests of both sides' Openings."""
    ranges: Annotated[tuple[RangeBounds, ...], Size(INTERVALS_MAX, 1)]


@dataclass(frozen=True, slots=True)
class RangeContents:
    """Fingerprints of the parts of an interval, or, if there are none, the ids of all that is in it."""

    bounds: Annotated[tuple[Bound, ...], Size(BRANCHES - 1)]
    fingerprints: Annotated[bytes, Size(BRANCHES * FINGERPRINT_BYTES)]
    ids: Annotated[bytes, Size(LEAF_KEYS_MAX * ID_BYTES)]


@dataclass(frozen=True, slots=True)
class RangesAnswer:
    """One RangeContents for each interval of the request, in its order."""

    contents: Annotated[tuple[RangeContents, ...], Size(INTERVALS_MAX)]


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Asks for the receipts with these ids."""

    scope: Annotated[bytes, Size(SHORT_BYTES, SHORT_BYTES)]
    ids: Annotated[bytes, Size(BATCH_MAX * ID_BYTES, ID_BYTES)]


@dataclass(frozen=True, slots=True)
class ShowRequest:
    """Asks a peer for receipts of the work that it did for these peers: they worked for the asker (C-10)."""

    requesters: Annotated[bytes, Size(SHORT_BYTES * INTERESTS_MAX)]
    """Their ascending short ids."""


GOSSIP_METHOD = Method("credit.gossip", Gossip, GossipAnswer)
OPEN_METHOD = Method("credit.open", Opening, Opening)
CHAINS_METHOD = Method("credit.chains", ChainsRequest, Gossip)
RANGES_METHOD = Method("credit.ranges", RangesRequest, RangesAnswer)
FETCH_METHOD = Method("credit.fetch", FetchRequest, Gossip)
SHOW_METHOD = Method("credit.show", ShowRequest, Gossip)
