"""Serves tasks to peers: admits a proposal, runs it, commits to the answer, reveals it; it never chooses peers.

Closed, it serves this node's own user alone: others are refused, and `hand_back` ends what still runs for them (O-1).

An answer is kept for a while after it was made, and for a shorter while after its requester fetched it, since messages
get lost on their way. A proposal that arrives twice is run once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from swarmharness.credit.gate import Ticket
from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX, epoch_of
from swarmharness.credit.service import CreditService
from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import InputError, RefusedError, SwarmError, UnavailableError
from swarmharness.execution.parameters import read_parameters
from swarmharness.execution.ports import Executor, SkillInfo
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
from swarmharness.network.ports import Request, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.models import ModelKey, model_key

UNFETCHED_KEPT_US = 60_000_000
FETCHED_KEPT_US = 10_000_000
FETCH_PATIENCE_S = 1.0
"""How long a node that stops waits for somebody to fetch an answer."""
SWEEP_US = 1_000_000
TASKS_PER_PEER_MAX = 16_384
ANSWER_BYTES_MAX = 512 * 2**20
"""All kept answers together; beyond it, new tasks are refused."""
ERROR_CHARS_MAX = 250

_NONCE_BYTES = 32


@dataclass(slots=True)
class _Task:
    """One proposal under way or answered."""

    failure: SwarmError | None
    """Why there is no answer; None once there is one."""
    done: trio.Event = field(default_factory=trio.Event)
    fetched: trio.Event = field(default_factory=trio.Event)
    commitment: bytes = b""
    reveal: bytes = b""
    expires_us: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around its execution."""


class Served(Protocol):
    """Hears of every task that was executed here, and must not wait."""

    def __call__(
        self, peer_id: PeerId, model: ModelKey, *, items: int, service_us: int, elapsed_us: int, found_items: int
    ) -> None:
        """Times are of the whole task; `found_items` were under way or waited when it came."""


def _nobody_asks(
    peer_id: PeerId, model: ModelKey, *, items: int, service_us: int, elapsed_us: int, found_items: int
) -> None:
    return None


class TaskServer:
    """The worker's side of every task."""

    def __init__(
        self,
        executor: Executor,
        credit: CreditService,
        transport: Transport,
        clock: Clock,
        randomness: Randomness,
        *,
        price_of: Callable[[SkillInfo], int],
        digests: Digests | None = None,
    ) -> None:
        self._executor = executor
        self._digests = digests or Digests()
        self._credit = credit
        self._clock = clock
        self._randomness = randomness
        self._price_of = price_of
        self._own_id = transport.peer_id
        self._tasks: dict[tuple[PeerId, bytes], _Task] = {}
        self._tasks_of: Counter[PeerId] = Counter()
        self._kept_bytes = 0
        self._next_sweep_us = 0
        self._draining = False
        self.began: Callable[[], None] = lambda: None
        """Hears that a task was accepted, and must not wait."""
        self.served: Served = _nobody_asks
        self.refused: Callable[[PeerId, str, str], None] = lambda peer_id, skill, reason: None
        """Hears of every proposal of others that was not run, and why."""
        self._closed: dict[str, str] = {}
        """Why others are refused, by who wants that."""
        transport.handle(METHOD_RUN, self._run)
        transport.handle(METHOD_REVEAL, self._reveal)

    @property
    def active(self) -> int:
        """Tasks accepted and not yet answered; a node that stops waits for these."""
        return sum(not task.done.is_set() for task in self._tasks.values())

    async def drain(self) -> None:
        """Refuse new tasks, and wait until those under way are answered and their answers were fetched."""
        self._draining = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            await task.done.wait()
        with trio.move_on_after(FETCH_PATIENCE_S):
            for task in tasks:
                await task.fetched.wait()

    def close(self, reason: str, *, by: str = "owner") -> None:
        """Refuse what others propose from now on, saying why; what is under way goes on until `hand_back`."""
        self._closed[by] = reason

    def open(self, *, by: str = "owner") -> None:
        """Serve everybody again, unless somebody else closed it too."""
        self._closed.pop(by, None)

    def hand_back(self) -> None:
        """End what runs for others: they are refused, owe nothing, and take their items elsewhere."""
        for (peer_id, _), task in self._tasks.items():
            if peer_id != self._own_id and not task.done.is_set():
                task.scope.cancel()

    async def _run(self, request: Request) -> bytes:
        proposal = decode(Proposal, request.payload)
        self._forget_expired()
        task = self._tasks.get((request.peer_id, proposal.task_id))
        if task is not None:
            await task.done.wait()
        else:
            try:
                task = await self._admit_and_execute(request, proposal)
            except SwarmError as error:
                self._note_refusal(request.peer_id, proposal.skill, error)
                raise
            if task.failure is not None:
                self._note_refusal(request.peer_id, proposal.skill, task.failure)
        if task.failure is not None:
            raise task.failure
        return task.commitment

    async def _admit_and_execute(self, request: Request, proposal: Proposal) -> _Task:
        skill = self._fitting_skill(request.peer_id, proposal)
        key = request.peer_id, proposal.task_id
        task = self._tasks[key] = _Task(RefusedError("the requester gave this task up"))
        self._tasks_of[request.peer_id] += 1
        try:
            ticket = await self._credit.admit(request.peer_id, proposal.price_microcredits)
            with task.scope:
                await self._execute(request, proposal, skill, ticket, task)
                task.failure = None
            if task.scope.cancelled_caught:
                self._credit.undo(ticket)  # nobody pays for what was handed back
                raise self._closed_error()
        except SwarmError as error:
            task.failure = error
        finally:
            if task.failure is not None:
                self._drop(key)
            task.done.set()
        return task

    def _fitting_skill(self, peer_id: PeerId, proposal: Proposal) -> SkillInfo:
        """Return the skill that is proposed; raises what says why this node cannot run it for this price."""
        if self._draining:
            raise RefusedError("this node is stopping")
        if self._closed and peer_id != self._own_id:
            raise self._closed_error()
        skill = self._offered(proposal)
        try:
            read_parameters(skill.kind, proposal.parameters)
        except SwarmError as error:
            raise error.for_peers() from None
        price = self._price_of(skill) * len(proposal.items)
        if proposal.price_microcredits < price:
            raise RefusedError(
                f"{len(proposal.items)} items of {skill.name!r} cost {price} micro-credits here, "
                f"{proposal.price_microcredits} were offered; fetch its advert again"
            )
        if proposal.price_microcredits > AMOUNT_MICROCREDITS_MAX:
            raise RefusedError(f"no receipt moves more than {AMOUNT_MICROCREDITS_MAX} micro-credits; send fewer items")
        if self._tasks_of[peer_id] >= TASKS_PER_PEER_MAX:
            raise RefusedError(f"{TASKS_PER_PEER_MAX} tasks of this requester are open; fetch their answers first")
        if self._kept_bytes >= ANSWER_BYTES_MAX:
            raise RefusedError("too many answers wait here for their requesters; try again in a minute")
        return skill

    def _note_refusal(self, peer_id: PeerId, skill: str, error: SwarmError) -> None:
        if peer_id != self._own_id:
            self.refused(peer_id, skill, str(error))

    def _offered(self, proposal: Proposal) -> SkillInfo:
        """Return the skill that is proposed, if it is served with the model that is proposed."""
        skill = next((skill for skill in self._executor.skills() if skill.name == proposal.skill), None)
        if skill is None:
            raise UnavailableError(f"this node does not serve {proposal.skill!r}").for_peers()
        if proposal.model_digest != skill.model_digest:
            problem = f"this node serves {skill.name!r} with another model; fetch its advert again"
            raise UnavailableError(problem).for_peers()
        return skill

    def _closed_error(self) -> RefusedError:
        reason = next(iter(self._closed.values()), "its owner needs it")
        return RefusedError(f"this node serves nobody now: {reason}; ask again later")

    async def _execute(
        self, request: Request, proposal: Proposal, skill: SkillInfo, ticket: Ticket, task: _Task
    ) -> None:
        started_us, found_items = self._clock.monotonic_us(), self._executor.queued_items(skill.name)
        inputs_digest = await self._digests.of_inputs(proposal)
        self.began()
        try:
            self._offered(proposal)  # skills may have been replaced while it was admitted
            execution = await self._executor.run(
                skill.name,
                proposal.items,
                timeout_s=request.timeout_s,
                priority=ticket.priority,
                parameters=proposal.parameters,
            )
        except (RefusedError, UnavailableError):
            self._credit.undo(ticket)  # it never began
            raise
        own = request.peer_id == self._own_id
        outputs = tuple(
            Output(output.data, (output.error if own else output.public_error)[:ERROR_CHARS_MAX], output.flags)
            for output in execution.outputs
        )
        nonce = self._randomness.token(_NONCE_BYTES)
        with trio.CancelScope(shield=True):  # it is done, and shall be paid
            digest = await self._digests.of_outputs(proposal, outputs)
        epoch = epoch_of(self._clock.unix_us())
        commitment = commitment_of(proposal.task_id, self._own_id, nonce, digest)
        if request.peer_id != self._own_id:
            self._credit.expect(
                TaskTerms(
                    task=proposal.task_id,
                    requester=request.peer_id,
                    worker=self._own_id,
                    epoch=epoch,
                    share_microcredits=proposal.price_microcredits,
                    model_digest=proposal.model_digest,
                    input_digest=inputs_digest,
                    output_digest=digest,
                    skill=skill.name,
                    items=len(proposal.items),
                    service_us=execution.service_us,
                )
            )
        self.served(
            request.peer_id,
            model_key(skill.name, skill.model_digest),
            items=len(proposal.items),
            service_us=execution.service_us,
            elapsed_us=self._clock.monotonic_us() - started_us,
            found_items=found_items,
        )
        queued = self._executor.queued_items(skill.name)
        task.commitment = encode(Commitment(proposal.task_id, epoch, commitment, execution.service_us, queued))
        task.reveal = encode(Reveal(proposal.task_id, nonce, outputs))
        task.expires_us = self._clock.monotonic_us() + UNFETCHED_KEPT_US
        self._kept_bytes += len(task.reveal)

    async def _reveal(self, request: Request) -> bytes:
        wanted = decode(RevealRequest, request.payload)
        key = request.peer_id, wanted.task_id
        if key not in self._tasks:  # its proposal came in the same breath, and trio begins tasks in any order
            await trio.lowlevel.checkpoint()
        task = self._tasks.get(key)
        if task is not None:
            await task.done.wait()
        if task is None or not task.reveal:
            raise InputError(f"task {wanted.task_id.hex()} has no answer here; propose it again").for_peers()
        task.fetched.set()
        task.expires_us = min(task.expires_us, self._clock.monotonic_us() + FETCHED_KEPT_US)
        return task.reveal

    def _forget_expired(self) -> None:
        now_us = self._clock.monotonic_us()
        if now_us < self._next_sweep_us:
            return
        self._next_sweep_us = now_us + SWEEP_US
        for key in [key for key, task in self._tasks.items() if task.done.is_set() and task.expires_us < now_us]:
            self._drop(key)

    def _drop(self, key: tuple[PeerId, bytes]) -> None:
        self._kept_bytes -= len(self._tasks.pop(key).reveal)
        self._tasks_of[key[0]] -= 1
        if not self._tasks_of[key[0]]:
            del self._tasks_of[key[0]]
