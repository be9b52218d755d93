"""Adverts and identities for the tests of registry and routing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from swarmharness.identity import Identity
from swarmharness.registry.advert import Advert, DeviceInfo, SignedAdvert, SkillAdvert, sign_advert

NOW_UNIX_S = 1_700_000_000
DEVICE = DeviceInfo(4, 8192, (), ("CPUExecutionProvider",))


def identity(number: int) -> Identity:
    return Identity(hashlib.sha256(f"sample {number}".encode()).digest())


def offer(name: str = "text-embedding", **changes: Any) -> SkillAdvert:
    plain = SkillAdvert(
        name=name,
        version="1",
        kind="text-embedding",
        model_digest=hashlib.sha256(name.encode()).digest(),
        comparison_class="fp32",
        batch_invariant=True,
        batch_items_max=32,
        service_us=5_000,
        price_microcredits=20_000,
        provider="CPUExecutionProvider",
        queued_items=0,
    )
    return replace(plain, **changes)


def advert(
    signer: Identity,
    skills: Sequence[SkillAdvert | str] = ("text-embedding",),
    *,
    sequence: int = 1,
    issued_unix_s: int = NOW_UNIX_S,
    lifetime_s: int = 480,
    addresses: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/4001",),
) -> Advert:
    return Advert(
        peer_id=signer.peer_id,
        sequence=sequence,
        issued_unix_s=issued_unix_s,
        expires_unix_s=issued_unix_s + lifetime_s,
        addresses=addresses,
        device=DEVICE,
        skills=tuple(offer(skill) if isinstance(skill, str) else skill for skill in skills),
    )


def signed(signer: Identity, of: Advert | None = None) -> tuple[Advert, SignedAdvert]:
    body = of or advert(signer)
    return body, sign_advert(body, signer)
