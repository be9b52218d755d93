"""What the API gives back, as frozen dataclasses; it converts a node's plain answers and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swarmharness.errors import SwarmError

OnError = Literal["raise", "return"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """What became of one input: an output, or the error that says why there is none."""

    index: int
    """Which input this belongs to, counted from 0."""
    output: Any
    """What the skill's kind puts out (see `client.values`); None when there is an error."""
    peer: str
    """Who answered: a peer id; empty when nobody did."""
    service_ms: float
    """How long the worker computed, by its own account."""
    receipt: str
    """The task's id, by which `swarmharness credit history` finds its receipt."""
    verified: bool
    """Whether a second peer, or this node itself, confirmed this very output before it was delivered."""
    error: SwarmError | None = None
    model_digest: str = ""
    """Of the model that gave the output, in hexadecimal: all of a job's outputs are of one model. Empty when nobody
    answered, and for results of jobs that an earlier release began."""
    truncated: bool = False
    """Whether a part of the input was left out, because the model takes no more (see the parameter `on_long`)."""

    def __repr__(self) -> str:
        what = f"error={self.error!r}" if self.error is not None else f"output={_shown(self.output)}"
        return f"Result(index={self.index}, {what}, peer={self.peer!r}, service_ms={self.service_ms:g})"

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stream stands."""

    items_sent: int
    """Inputs that the node has taken."""
    items_done: int
    """Inputs with an answer or an error."""
    peers: Mapping[str, int]
    """Inputs answered, by peer."""
    spent_microcredits: int
    waiting_for: str = ""
    """What the job waits for while no peer can go on with it; empty while it goes on."""


@dataclass(frozen=True, slots=True)
class PeerSkill:
    """What a peer offers, and how this node judges it."""

    name: str
    version: str
    model_digest: str
    """In hexadecimal; `name@digest` asks for just this model."""
    provider: str
    """What it runs on, for example `CPUExecutionProvider`."""
    price_microcredits: int
    """For one item."""
    item_ms: float | None
    """Time for one item: measured by this node, else as advertised, else None."""
    answers: int
    failures: int
    trust: float
    """From 0 to 1; 0.5 is the prior."""
    breaker: str


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that this node knows; `local` is this node itself."""

    peer_id: str
    local: bool
    usable: bool
    reason: str
    """Why it is not usable; empty if it is."""
    not_serving: str
    """Why it takes no work from others now, as it says itself; empty if it does."""
    addresses: tuple[str, ...]
    cores: int
    memory_mib: int
    accelerators: tuple[str, ...]
    round_trip_ms: float | None
    """None before it was measured."""
    clock_ahead_s: int | None
    """How far its clock is ahead of this node's, negative if behind; None if it did not say."""
    skills: tuple[PeerSkill, ...]


@dataclass(frozen=True, slots=True)
class PeerBalance:
    """What this node and one peer did for each other, all time."""

    peer_id: str
    earned_microcredits: int
    spent_microcredits: int
    receipts: int


@dataclass(frozen=True, slots=True)
class PeerCredit:
    """How much of a peer's requests this node would serve now, and why (docs/credit-rules.md, C-10 to C-12)."""

    peer_id: str
    available_microcredits: int
    flow_microcredits: int
    line_left_microcredits: int
    strangers_left_microcredits: int
    banned: bool


@dataclass(frozen=True, slots=True)
class Credit:
    """This node's account: sums over all receipts, and the standing that remains after melting."""

    peer_id: str
    earned_microcredits: int
    spent_microcredits: int
    net_microcredits: int
    standing_microcredits: int
    receipts: int
    by_peer: tuple[PeerBalance, ...]
    peer: PeerCredit | None
    """The peer that was asked about."""


def progress_of(row: Mapping[str, Any]) -> Progress:
    """Return the progress in an answer of the control method `job.results`."""
    return Progress(
        *(row["items_total"], row["items_done"], dict(row["peers"]), row["spent_microcredits"]),
        waiting_for=row.get("waiting_for", ""),
    )


def peers_of(rows: Sequence[Mapping[str, Any]]) -> list[Peer]:
    """Return the peers in an answer of the control method `peers.list`."""
    return [
        Peer(
            peer_id=row["peer"],
            local=row["local"],
            usable=row["usable"],
            reason=row["reason"],
            not_serving=row["not_serving"],
            addresses=tuple(row["addresses"]),
            cores=row["cores"],
            memory_mib=row["memory_mib"],
            accelerators=tuple(row["accelerators"]),
            round_trip_ms=_ms(row["round_trip_us"]),
            clock_ahead_s=row.get("clock_ahead_s"),
            skills=tuple(_peer_skill(skill) for skill in row["skills"]),
        )
        for row in rows
    ]


def credit_of(row: Mapping[str, Any]) -> Credit:
    """Return the account in an answer of the control method `credit.balance`."""
    peer = row["peer"]
    return Credit(
        peer_id=row["peer_id"],
        earned_microcredits=row["earned_microcredits"],
        spent_microcredits=row["spent_microcredits"],
        net_microcredits=row["net_microcredits"],
        standing_microcredits=row["standing"]["standing_microcredits"],
        receipts=row["receipts"],
        by_peer=tuple(
            PeerBalance(each["peer_id"], each["earned_microcredits"], each["spent_microcredits"], each["receipts"])
            for each in row["by_peer"]
        ),
        peer=None
        if peer is None
        else PeerCredit(
            peer_id=peer["peer_id"],
            available_microcredits=peer["available_microcredits"],
            flow_microcredits=peer["flow_microcredits"],
            line_left_microcredits=peer["line_left_microcredits"],
            strangers_left_microcredits=peer["strangers_left_microcredits"],
            banned=peer["banned"],
        ),
    )


def _peer_skill(row: Mapping[str, Any]) -> PeerSkill:
    return PeerSkill(
        name=row["skill"],
        version=row["version"],
        model_digest=row["model_digest"],
        provider=row["provider"],
        price_microcredits=row["price_microcredits"],
        item_ms=_ms(row["measured_us"] or row["advertised_us"] or None),
        answers=row["answers"],
        failures=row["failures"],
        trust=row["trust"],
        breaker=row["breaker"],
    )


def _shown(output: Any) -> str:
    if isinstance(output, Mapping):
        return "{" + ", ".join(f"{name!r}: {_shown(value)}" for name, value in output.items()) + "}"
    if hasattr(output, "dtype") and hasattr(output, "shape"):
        return f"<{output.dtype} {output.shape}>"
    return repr(output)


def _ms(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1000
