"""Runs one task on one peer: proposes, and checks the opened commitment; it never retries, and pays when it is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import trio

from swarmharness.credit.receipt import SALT_BYTES, TASK_ID_BYTES
from swarmharness.credit.service import CreditService
from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import ProtocolError, SwarmError, UnavailableError
from swarmharness.execution.parameters import decode_parameters
from swarmharness.identity import PeerId
from swarmharness.jobs.digesting import Digests
from swarmharness.jobs.messages import (
    METHOD_REVEAL,
    METHOD_RUN,
    Commitment,
    Output,
    Proposal,
    Reveal,
    RevealRequest,
    commitment_of,
)
from swarmharness.network.ports import Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import SkillAdvert

EARLY_BYTES_MAX = 64 * 1024
"""Proposals with more than this may travel on a stream of their own (see `_exchange`)."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What a peer answered for one task, in the order of its items."""

    peer_id: PeerId
    outputs: tuple[Output, ...]
    service_us: int
    queued_items: int
    elapsed_us: int
    receipt: str
    """The task in hex, by which its receipt is found; empty for a task that this node ran for itself."""
    terms: TaskTerms | None = None
    """What is to be settled once the answer is accepted; None for a task that this node ran for itself."""
    confirmed_by: tuple[TaskTerms, ...] = ()
    """What others answered alike and is settled with it."""
    verified: bool = False
    """Whether a second node confirmed it, or this node ran it itself."""

    @property
    def price_microcredits(self) -> int:
        """What the answer costs once it is accepted, with those that confirmed it."""
        own = () if self.terms is None else (self.terms,)
        return sum(terms.share_microcredits for terms in (*own, *self.confirmed_by))


class TaskRequester:
    """The requester's side of every task."""

    def __init__(
        self,
        transport: Transport,
        credit: CreditService,
        clock: Clock,
        randomness: Randomness,
        digests: Digests | None = None,
    ) -> None:
        self._transport = transport
        self._digests = digests or Digests()
        self._credit = credit
        self._clock = clock
        self._randomness = randomness

    async def run(
        self,
        peer_id: PeerId,
        skill: SkillAdvert,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        parameters: bytes = b"",
    ) -> TaskAnswer:
        """Return the peer's answer; it is paid when it is given to `settle`, and not before.

        Raises what the worker raised, PeerLostError, DeadlineError, or ProtocolError for an answer that does not
        open its commitment or does not fit the items.
        """
        if not skill.takes(decode_parameters(parameters)):
            raise UnavailableError(f"{peer_id} does not take the parameters of this task; ask another peer")
        started_us = self._clock.monotonic_us()
        proposal = Proposal(
            task_id=self._randomness.token(TASK_ID_BYTES),
            skill=skill.name,
            model_digest=skill.model_digest,
            price_microcredits=skill.price_microcredits * len(items),
            salt=self._randomness.token(SALT_BYTES),
            items=items,
            parameters=parameters,
        )
        commitment, reveal = await self._exchange(peer_id, proposal, timeout_s)
        digest = await self._digests.of_outputs(proposal, reveal.outputs)
        self._check(peer_id, proposal, commitment, reveal, digest)
        elapsed_us = self._clock.monotonic_us() - started_us
        paid = peer_id != self._transport.peer_id
        return TaskAnswer(
            peer_id=peer_id,
            outputs=reveal.outputs,
            service_us=min(commitment.service_us, elapsed_us),
            queued_items=commitment.queued_items,
            elapsed_us=elapsed_us,
            receipt=proposal.task_id.hex() if paid else "",
            terms=await self._terms(peer_id, proposal, commitment, digest) if paid else None,
            verified=not paid,
        )

    def price_microcredits(self, peer_id: PeerId, skill: SkillAdvert, items: int) -> int:
        """Return what so many items cost at this peer; this node charges itself nothing."""
        return 0 if peer_id == self._transport.peer_id else skill.price_microcredits * items

    def settle(self, answer: TaskAnswer) -> None:
        """Pay for an answer that was accepted: once for each task; never waits and never raises."""
        if answer.terms is not None:
            self._credit.settle_task(answer.terms)

    async def _exchange(self, peer_id: PeerId, proposal: Proposal, timeout_s: float) -> tuple[Commitment, Reveal]:
        """Get the commitment, then the answer; a small proposal's answer is asked for in the same breath.

        The worker commits before it reveals either way, and nobody but this node sees the answer, so asking early gives
        nothing away and saves a round trip. A large proposal travels apart from the request for its answer, which
        could overtake it.
        """
        ends_s = trio.current_time() + timeout_s
        early: list[bytes] = []
        commitment = b""
        failure: SwarmError | None = None

        async def ask() -> None:
            with suppress(SwarmError):  # whatever is wrong, the proposal or the second attempt will tell
                early.append(await self._reveal(peer_id, proposal, timeout_s))

        async with trio.open_nursery() as nursery:
            if sum(map(len, proposal.items)) + len(proposal.parameters) <= EARLY_BYTES_MAX:
                nursery.start_soon(ask)
            try:
                commitment = await self._transport.call(peer_id, METHOD_RUN, encode(proposal), timeout_s=timeout_s)
            except SwarmError as error:
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        committed = decode(Commitment, commitment)
        answer = early[0] if early else await self._reveal(peer_id, proposal, max(ends_s - trio.current_time(), 0.0))
        return committed, decode(Reveal, answer)

    async def _reveal(self, peer_id: PeerId, proposal: Proposal, timeout_s: float) -> bytes:
        return await self._transport.call(
            peer_id, METHOD_REVEAL, encode(RevealRequest(proposal.task_id)), timeout_s=timeout_s
        )

    def _check(
        self, peer_id: PeerId, proposal: Proposal, commitment: Commitment, reveal: Reveal, digest: bytes
    ) -> None:
        opened = commitment_of(proposal.task_id, peer_id, reveal.nonce, digest)
        if commitment.task_id != proposal.task_id or reveal.task_id != proposal.task_id:
            raise ProtocolError(f"{peer_id} answered for another task")
        if opened != commitment.commitment:
            raise ProtocolError(f"{peer_id} revealed another answer than it had committed to")
        if len(reveal.outputs) != len(proposal.items):
            raise ProtocolError(f"{peer_id} answered {len(reveal.outputs)} of {len(proposal.items)} items")

    async def _terms(self, peer_id: PeerId, proposal: Proposal, commitment: Commitment, digest: bytes) -> TaskTerms:
        return TaskTerms(
            task=proposal.task_id,
            requester=self._transport.peer_id,
            worker=peer_id,
            epoch=commitment.epoch,
            share_microcredits=proposal.price_microcredits,
            model_digest=proposal.model_digest,
            input_digest=await self._digests.of_inputs(proposal),
            output_digest=digest,
            skill=proposal.skill,
            items=len(proposal.items),
            service_us=commitment.service_us,
        )
