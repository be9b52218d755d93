"""What nodes ask one another about adverts: the payloads of `registry.advert`, `registry.find` and `registry.push`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from swarmharness.protocol.codec import Added, Count, Range, Signature, Size
from swarmharness.protocol.method import Method
from swarmharness.registry.advert import ADVERT_BYTES_MAX, SignedAdvert, SkillName

FIND_LIMIT_MAX = 32


@dataclass(frozen=True, slots=True)
class AdvertRequest:
    """Asks a node for its own advert; whoever asks is told of changes for a while. The answer is an AdvertAnswer."""

    unix_s: Annotated[int, Range(0, 2**40), Added()] = 0
    """The asker's clock, so that the asked one can tell its user of a difference; 0: not said."""
    sequence: Annotated[Count, Added()] = 0
    """The highest number of an advert of the asked node that the asker knows; 0: none."""


@dataclass(frozen=True, slots=True)
class AdvertAnswer:
    """A node's own advert, as a `SignedAdvert` and its clock."""

    advert: Annotated[bytes, Size(ADVERT_BYTES_MAX, 1)]
    signature: Signature
    unix_s: Annotated[int, Range(0, 2**40), Added()] = 0
    """The answering node's clock; 0: not said."""

    @property
    def signed(self) -> SignedAdvert:
        """The advert as its node signed it."""
        return SignedAdvert(self.advert, self.signature)


@dataclass(frozen=True, slots=True)
class FindRequest:
    """Asks a node which others serve a skill."""

    skill: SkillName
    limit: Annotated[int, Range(1, FIND_LIMIT_MAX)]


@dataclass(frozen=True, slots=True)
class FindResponse:
    """Adverts of nodes that the answering node heard from lately; the asker still asks each of them itself."""

    adverts: Annotated[tuple[SignedAdvert, ...], Size(FIND_LIMIT_MAX)]


@dataclass(frozen=True, slots=True)
class Push:
    """A changed advert: the sender's own, or one that the sender has just heard from its node."""

    advert: SignedAdvert


@dataclass(frozen=True, slots=True)
class PushResponse:
    """Says that a push arrived, whatever became of it."""


METHOD_ADVERT = Method("registry.advert", AdvertRequest, AdvertAnswer)
METHOD_FIND = Method("registry.find", FindRequest, FindResponse)
METHOD_PUSH = Method("registry.push", Push, PushResponse)
