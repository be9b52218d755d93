"""Adverts: what a node says it can do, signed by it; this module judges them and has neither clock nor network.

An advert never carries trust: what a node says about its own honesty is worth nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from swarmharness.errors import ProtocolError, RefusedError
from swarmharness.identity import PeerId, Signer, verify
from swarmharness.protocol.codec import Added, Count, Digest, PeerText, Range, Signature, Size, decode_signed, encode
from swarmharness.registry.models import ModelKey, model_key

ADVERT_BYTES_MAX = 32 * 1024
ADDRESSES_MAX = 16
SKILLS_MAX = 64
CLOCK_SKEW_S_MAX = 300
"""How far another node's clock may be ahead of, or behind, ours; home devices are rarely worse."""
LIFETIME_S_MAX = 24 * 3600

_DOMAIN = b"swarmharness/advert/1\x00"
_KEY_PREFIX = b"swarmharness/skill/"
_UNIX_S = Range(0, 2**40)
_US = Range(0, 2**50)

NOT_SERVING = {
    "paused": "its owner paused it",
    "schedule": "it is outside the hours that its owner gives",
    "cpu": "its owner uses its processor",
    "memory": "its owner needs its memory",
    "battery": "it saves its battery",
    "gpu": "its owner uses its GPU",
    "temperature": "it is too hot",
    "disk": "its disk takes no receipts",
}
"""The words with which an advert says why its node serves nobody now, and what each means to others."""


class DatesError(RefusedError):
    """An advert's dates do not fit this node's clock; `late_s` is how old it is, less than 0 if from the future."""

    def __init__(self, message: str, late_s: int = 0) -> None:
        super().__init__(message)
        self.late_s = late_s


class SequenceError(RefusedError):
    """An advert has a lower number than one of the same node that is known, or the same number and another content."""


PARAMETERS_MAX = 64


SkillName = Annotated[str, Size(64, 1)]
Label = Annotated[str, Size(128)]


@dataclass(frozen=True, slots=True)
class SkillAdvert:
    """What a node says about one skill that it serves."""

    name: SkillName
    version: Label
    kind: Label
    model_digest: Digest
    """Equal digests mean equal models and labels."""
    comparison_class: Label
    """Results are comparable only inside one class."""
    batch_invariant: bool
    """Whether an item's result is the same in every batch."""
    batch_items_max: Annotated[int, Range(1, 65_536)]
    service_us: Annotated[int, _US]
    """Measured time of one item there; 0 while unmeasured. A claim: requesters measure for themselves."""
    price_microcredits: Count
    """For one item."""
    provider: Label
    """The execution provider in use; empty while the model is not loaded."""
    queued_items: Annotated[int, Range(0, 2**32)]
    """Items that waited there when the advert was signed: a first idea of its load, soon stale."""
    slots: Annotated[int, Range(1, 1024)] = 1
    """Items that it works on at a time."""
    load_us: Annotated[int, _US] = 0
    """Measured time of opening the model there; 0 while unmeasured."""
    missing_bytes: Annotated[int, Range(0, 2**50)] = 0
    """What it would fetch of the model before it could begin; 0 if it has it all."""
    parameters: Annotated[tuple[Annotated[str, Size(64, 1)], ...], Size(PARAMETERS_MAX), Added()] = ()
    """The names of what a task may be told beside its items; a peer is never sent others."""

    def takes(self, parameters: Iterable[str]) -> bool:
        """Tell whether a task may be told all of these there."""
        return all(name in self.parameters for name in parameters)

    @property
    def model(self) -> ModelKey:
        """The skill and its model."""
        return model_key(self.name, self.model_digest)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """The machine that a node runs on, as the node describes it."""

    cores: Annotated[int, Range(0, 65_536)]
    memory_mib: Annotated[int, Range(0, 2**40)]
    accelerators: Annotated[tuple[Label, ...], Size(16)]
    providers: Annotated[tuple[Label, ...], Size(16)]
    """ONNX Runtime execution providers on which its loaded models run."""


@dataclass(frozen=True, slots=True)
class Advert:
    """Everything a node says about itself."""

    peer_id: PeerText
    sequence: Count
    """Grows with every advert that the node signs, across restarts (R-1)."""
    issued_unix_s: Annotated[int, _UNIX_S]
    expires_unix_s: Annotated[int, _UNIX_S]
    addresses: Annotated[tuple[Annotated[str, Size(256, 1)], ...], Size(ADDRESSES_MAX)]
    """Multiaddrs without `/p2p/…`; empty if the node does not listen."""
    device: DeviceInfo
    skills: Annotated[tuple[SkillAdvert, ...], Size(SKILLS_MAX)]
    not_serving: Annotated[str, Size(32)] = ""
    """Why it serves nobody but its own user now, one of `NOT_SERVING`; empty while it serves."""

    @property
    def not_serving_text(self) -> str:
        """Why it serves nobody now, in words of this program (a word of a newer version is not shown); or empty."""
        return NOT_SERVING.get(self.not_serving, "it serves nobody now") if self.not_serving else ""

    def skill(self, name: str) -> SkillAdvert | None:
        """Return what the node says about one skill, or None if it does not serve it."""
        for skill in self.skills:
            if skill.name == name:
                return skill
        return None


@dataclass(frozen=True, slots=True)
class SignedAdvert:
    """An advert as its node signed it, byte for byte, so that fields of newer versions stay signed when relayed."""

    advert: Annotated[bytes, Size(ADVERT_BYTES_MAX, 1)]
    signature: Signature


def sign_advert(advert: Advert, signer: Signer) -> SignedAdvert:
    """Return the advert with its node's signature; raises ValueError for an advert of another node."""
    if advert.peer_id != signer.peer_id:
        raise ValueError(f"{signer.peer_id} cannot sign the advert of {advert.peer_id}")
    data = encode(advert)
    return SignedAdvert(data, signer.sign(_DOMAIN + data))


def open_advert(signed: SignedAdvert, *, now_unix_s: int, expected: PeerId | None = None) -> Advert:
    """Return the advert if its own node signed it and it is valid now.

    `expected` is the node that was asked, if one was. Raises ProtocolError (not an advert, or a signature that does
    not match) or RefusedError (another node's, expired, from the future). The sequence rule is the directory's.
    """
    if len(signed.advert) > ADVERT_BYTES_MAX:
        raise ProtocolError(f"the advert has {len(signed.advert)} bytes, allowed are {ADVERT_BYTES_MAX}")
    advert = decode_signed(Advert, signed.advert)
    if expected is not None and advert.peer_id != expected:
        raise RefusedError(f"{expected} answered with the advert of {advert.peer_id}")
    _check_dates(advert, now_unix_s)
    if len({skill.name for skill in advert.skills}) != len(advert.skills):
        raise ProtocolError(f"the advert of {advert.peer_id} names a skill twice")
    if not verify(advert.peer_id, _DOMAIN + signed.advert, signed.signature):
        raise ProtocolError(f"the advert in the name of {advert.peer_id} has a signature that is not by it")
    return advert


def skill_key(name: str) -> bytes:
    """Return the key of a skill's provider records: SHA-256 of `swarmharness/skill/<name>`."""
    return hashlib.sha256(_KEY_PREFIX + name.encode()).digest()


def changed_materially(old: Advert, new: Advert) -> bool:
    """Tell whether those who rely on `old` should hear of `new` before their next refresh."""
    before, after = ((one.addresses, one.device, one.not_serving, len(one.skills)) for one in (old, new))
    if before != after:
        return True
    return any(_skill_changed(old.skill(skill.name), skill) for skill in new.skills)


def _skill_changed(old: SkillAdvert | None, new: SkillAdvert) -> bool:
    if old is None or (old.service_us == 0) != (new.service_us == 0):
        return True
    facts = [
        (
            *(skill.model_digest, skill.comparison_class, skill.batch_items_max, skill.price_microcredits),
            *(skill.version, skill.parameters),
        )
        for skill in (old, new)
    ]
    if (bool(old.provider), bool(old.missing_bytes)) != (bool(new.provider), bool(new.missing_bytes)):
        return True  # a model was opened, closed or fetched: the next task there waits for it, or need not any more
    # A measured speed wobbles; only a factor of two is news.
    return facts[0] != facts[1] or max(old.service_us, new.service_us) > 2 * min(old.service_us, new.service_us)


def _check_dates(advert: Advert, now_unix_s: int) -> None:
    if advert.issued_unix_s > now_unix_s + CLOCK_SKEW_S_MAX:
        ahead_s = advert.issued_unix_s - now_unix_s
        raise DatesError(
            f"the advert of {advert.peer_id} is from {ahead_s} s in the future; is a clock wrong?", -ahead_s
        )
    if advert.expires_unix_s < now_unix_s:
        late_s = now_unix_s - advert.expires_unix_s
        raise DatesError(f"the advert of {advert.peer_id} expired {late_s} s ago", now_unix_s - advert.issued_unix_s)
    if not 0 < advert.expires_unix_s - advert.issued_unix_s <= LIFETIME_S_MAX:
        raise RefusedError(f"the advert of {advert.peer_id} is not valid for 1 s to {LIFETIME_S_MAX} s")
