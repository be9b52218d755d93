"""This node's own advert: composed from what it can do now, numbered, signed; it never sends it.

Sequence numbers are milliseconds of Unix time or one more than the last, whichever is higher, and blocks of them are
reserved on disk before use: neither a restart nor a clock that was set back makes a node sign a lower one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from swarmharness.execution.ports import SkillInfo
from swarmharness.identity import Signer
from swarmharness.ports import Clock
from swarmharness.registry.advert import (
    ADDRESSES_MAX,
    SKILLS_MAX,
    Advert,
    DeviceInfo,
    SignedAdvert,
    SkillAdvert,
    sign_advert,
)
from swarmharness.registry.stores import SequenceStore

RESERVED = 10_000
STALE_US = 1_000_000
"""An advert is composed at most once in this time, whoever asks."""


class OwnAdvert:
    """Call `open` first, and `reserve` now and then."""

    def __init__(
        self,
        signer: Signer,
        clock: Clock,
        sequences: SequenceStore,
        *,
        addresses: Callable[[], tuple[str, ...]],
        device: DeviceInfo,
        skills: Callable[[], tuple[SkillInfo, ...]],
        queued_items: Callable[[str], int],
        price_of: Callable[[SkillInfo], int],
        lifetime_s: int,
        not_serving: Callable[[], str] = lambda: "",
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._sequences = sequences
        self._addresses = addresses
        self.device = device
        """The machine, as it is now; whoever watches it sets this."""
        self._skills = skills
        self._queued_items = queued_items
        self._price_of = price_of
        self._lifetime_s = lifetime_s
        self._not_serving = not_serving
        self._next = 0
        self._reserved = 0
        self._composed_us = 0
        self._current: tuple[Advert, SignedAdvert] | None = None

    async def open(self) -> None:
        """Take up numbering above everything that this node ever signed; raises OSError if that cannot be kept."""
        self._reserved = await self._sequences.load()
        self._next = max(self._reserved + 1, self._clock.unix_us() // 1000)
        await self.reserve()

    async def reserve(self) -> None:
        """Reserve more numbers if few are left."""
        if self._reserved - self._next < RESERVED // 2:
            reserved = self._next + RESERVED
            await self._sequences.save(reserved)
            self._reserved = reserved

    @property
    def highest(self) -> int:
        """The highest sequence number that this node signed."""
        return self._next - 1

    @property
    def advert(self) -> Advert:
        """The advert as it was composed last."""
        return self.current()[0] if self._current is None else self._current[0]

    def offers(self, skill: str) -> bool:
        """Tell whether the advert as it was composed last has a skill; False before there is one."""
        return self._current is not None and self._current[0].skill(skill) is not None

    def current(self, *, changed: bool = False) -> tuple[Advert, SignedAdvert]:
        """Return the advert that is true now; `changed` says not to be content with one of a second ago."""
        now_us = self._clock.monotonic_us()
        if self._current is not None and now_us - self._composed_us < STALE_US and not changed:
            return self._current
        if self._current is not None and self._next > self._reserved:
            return self._current  # the disk does not take more numbers: better an old advert than a reused number
        self._composed_us = now_us
        advert = self._compose()
        if self._current is None or not self._still_good(self._current[0], advert):
            self._current = advert, sign_advert(advert, self._signer)
            self._next += 1
        return self._current

    def _still_good(self, old: Advert, new: Advert) -> bool:
        told = (old.addresses, old.device, old.skills, old.not_serving)
        same = (new.addresses, new.device, new.skills, new.not_serving) == told
        return same and 0 <= new.issued_unix_s - old.issued_unix_s < self._lifetime_s // 8

    def _compose(self) -> Advert:
        if self._next > self._reserved:
            raise RuntimeError("OwnAdvert.open and reserve were not called")
        issued_unix_s = self._clock.unix_us() // 1_000_000
        skills = self._skills()[:SKILLS_MAX]
        in_use = sorted({info.provider for info in skills if info.provider})
        return Advert(
            peer_id=self._signer.peer_id,
            sequence=self._next,
            issued_unix_s=issued_unix_s,
            expires_unix_s=issued_unix_s + self._lifetime_s,
            addresses=self._addresses()[:ADDRESSES_MAX],
            device=replace(self.device, providers=tuple(in_use)),
            skills=tuple(self._skill(info) for info in skills),
            not_serving=self._not_serving(),
        )

    def _skill(self, info: SkillInfo) -> SkillAdvert:
        return SkillAdvert(
            name=info.name,
            version=info.version,
            kind=info.kind,
            model_digest=info.model_digest,
            comparison_class=info.comparison_class,
            batch_invariant=info.batch_invariant,
            batch_items_max=info.batch_items_max,
            service_us=info.service_us,
            price_microcredits=self._price_of(info),
            provider=info.provider,
            queued_items=self._queued_items(info.name),
            slots=info.slots,
            load_us=info.load_us,
            missing_bytes=info.missing_bytes,
            parameters=info.parameters,
        )
