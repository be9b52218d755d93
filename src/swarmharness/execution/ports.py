"""The port through which a node runs a skill on items; this module holds no implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

Item = bytes | str
"""An item, or why what the submitter named cannot be one: that is its result, and nobody is asked."""

Priority = tuple[int, ...]
"""Calls with a smaller one are run first, equal ones in the order of their arrival; () comes before all others."""

MODEL_FAILED = "the model failed on this item: "
"""Begins an item's error that quotes a library: the name of its exception, a colon, its text."""


TRUNCATED = 1
"""A part of the item was left out, because the model takes no more."""


@dataclass(frozen=True, slots=True)
class ItemOutput:
    """What became of one item: its encoded output, or why this item (and only this one) could not be processed."""

    data: bytes
    """The output in the skill's encoding (see `execution.items`); empty when there is an error."""
    error: str = ""
    flags: int = 0
    """What is to be known of the output beside it: a set of bits such as `TRUNCATED`."""

    @property
    def public_error(self) -> str:
        """The error without the raw text of a library, which another node is not told: only what kind of failure."""
        if not self.error.startswith(MODEL_FAILED):
            return self.error
        return MODEL_FAILED + self.error.removeprefix(MODEL_FAILED).partition(":")[0]


@dataclass(frozen=True, slots=True)
class Execution:
    """The outputs of one call, in input order, and what they cost."""

    outputs: tuple[ItemOutput, ...]
    service_us: int
    """Time that the model's worker spent on these items, without waiting; a merged batch is shared by item count."""


@dataclass(frozen=True, slots=True)
class SkillInfo:
    """What this node can run, as its advert states it."""

    name: str
    version: str
    kind: str
    model_digest: bytes
    """SHA-256 over the digests of the skill's files, so equal digests mean equal models and labels."""
    comparison_class: str
    """Results are comparable only within one class: model digest, arithmetic, quantisation (for example `fp32`)."""
    batch_invariant: bool
    batch_items_max: int
    work_microcredits: int
    """The price of one item at factor 1: micro-seconds of a reference core."""
    service_us: int
    """Measured time of one item on this node; 0 while unmeasured."""
    provider: str
    """The ONNX Runtime execution provider in use, or empty while no session is open."""
    slots: int = 1
    """Calls that run at a time; each occupies one of them, with all its items."""
    load_us: int = 0
    """Measured time of opening the model; 0 while unmeasured."""
    missing_bytes: int = 0
    """Model files that would be fetched before the first call is answered; 0 if all are here."""
    parameters: tuple[str, ...] = ()
    """What a call may be told beside its items (see `execution.parameters`)."""


class Executor(Protocol):
    """Runs skills. A failing model costs its caller an error and this node nothing."""

    def skills(self) -> tuple[SkillInfo, ...]:
        """What can be run now."""

    def unoffered(self) -> Mapping[str, str]:
        """The skills that are here and cannot be run now, with the reason of each for this node's user."""

    async def run(
        self,
        skill: str,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        priority: Priority = (),
        parameters: bytes = b"",
    ) -> Execution:
        """Run the skill on encoded items, merging concurrent calls with equal parameters into micro-batches.

        The parameters are those of `execution.parameters`, checked. An item that cannot be used has an error in its
        output. Raises UnavailableError (no such skill), InputError
        (no items, or a model that cannot be opened), ModelFailureError (the worker crashed or exceeded its memory),
        DeadlineError, RefusedError (its queue is full).
        """

    def queued_items(self, skill: str) -> int:
        """Items accepted for this skill and not yet answered."""
