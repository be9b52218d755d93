"""A swarm as a trio program sees it: submit, map and stream work, ask for peers and credit; nothing here decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import trio

from swarmharness.client.job_run import JobRun
from swarmharness.client.records import Credit, OnError, Peer, Result, credit_of, peers_of
from swarmharness.client.stream import ResultStream
from swarmharness.errors import (
    ConfigurationError,
    InputError,
    PartialResultError,
    ProtocolError,
    SwarmError,
    UnavailableError,
    error_from_kind,
)
from swarmharness.identity import parse_peer_id
from swarmharness.node.control import Control

if TYPE_CHECKING:
    from swarmharness.client.values import Input, Inputs

CALL_TIMEOUT_S = 30.0
JOBS_AT_ONCE = 128
"""Of one connection; more wait for their turn. A node holds some more, of all its programs together."""
WINDOW_ITEMS = 1024
"""A node works on long inputs first among those that it has, so a larger window has the first results wait longer."""
MAP_WINDOW_ITEMS = 65_536
"""`map` keeps all results anyway."""

Verify = Literal["none", "adaptive", "always"]


class Swarm:
    """A connection to a node and thereby to its swarm; `swarmharness.connect` makes one.

    Any number of tasks may use it at once. What every method can raise: `UnavailableError` when no node, peer or skill
    is there, `RefusedError`, `DeadlineError`, and `PeerLostError` when the node ends meanwhile.
    """

    def __init__(self, control: Control, nursery: trio.Nursery) -> None:
        self._control = control
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._slots = trio.Semaphore(JOBS_AT_ONCE)
        self._closed = False

    async def submit(
        self,
        skill: str,
        input: Input,
        *,
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Result:
        """Run the skill on one input and return its result; raises the error if there is none.

        `skill` may be `name@digest`, with 8 to 64 hexadecimal digits of the model that is wanted, if several models go
        by the name (`PeerSkill.model_digest`); otherwise this node picks one, and `Result.model_digest` tells which.
        `deadline_s` counts from now (None: as the node is configured). `budget_microcredits` is the most that the job
        may cost. `verify` and `replicas` are those of `swarmharness submit`, `parameters` what the skill's kind takes
        (`swarmharness skills show`), such as `{"on_long": "error"}`. `client.values` says which inputs a task
        takes, and what it puts out.
        """
        options = job_params(skill, deadline_s, budget_microcredits, verify, replicas, parameters)
        async with self._stream(options, (input,), 1, "return") as stream:
            result = await anext(stream)
        if result.error is not None:
            raise result.error
        return result

    async def map(
        self,
        skill: str,
        inputs: Inputs,
        *,
        on_error: OnError = "raise",
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """Run the skill on every input and return all results in input order.

        With `on_error="raise"`, inputs without an output raise PartialResultError at the end, which carries all
        results; if there is no output at all, the first error. With "return" such results carry their error.
        """
        check_on_error(on_error)
        options = job_params(skill, deadline_s, budget_microcredits, verify, replicas, parameters)
        results: list[Result] = []
        try:
            async with self._stream(options, inputs, MAP_WINDOW_ITEMS, "return") as stream:
                async for result in stream:
                    results.append(result)
        except SwarmError as error:
            raise lost_on_the_way(error, results) from error
        return checked(results, on_error)

    def stream(
        self,
        skill: str,
        inputs: Inputs,
        *,
        on_error: OnError = "raise",
        window: int = WINDOW_ITEMS,
        deadline_s: float | None = None,
        budget_microcredits: int | None = None,
        verify: Verify | None = None,
        replicas: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> ResultStream:
        """Run the skill on inputs as they come, and yield results in input order.

        `inputs` is read no more than `window` items, or 64 MiB, ahead of the results that were taken. A plain iterable
        is read in trio's thread: where it would wait for something, give an asynchronous one. With `on_error="raise"`
        the first input without an output ends the stream with its error; with "return" its result carries the error.
        Leaving the loop early cancels the job; `async with` makes that certain.
        """
        if window < 1:
            raise ConfigurationError(f"window={window}: at least 1 input must be on its way")
        return self._stream(
            job_params(skill, deadline_s, budget_microcredits, verify, replicas, parameters), inputs, window, on_error
        )

    async def peers(self) -> list[Peer]:
        """Return the nodes that this node knows, itself included, and what each offers."""
        return peers_of(await self._call("peers.list", {}))

    async def credit(self, peer: str | None = None) -> Credit:
        """Return the node's account; with a peer id, also how much of that peer's requests it would serve."""
        return credit_of(await self._call("credit.balance", {} if peer is None else {"peer": _peer_id(peer)}))

    # -- for the package ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take nothing new."""
        self._closed = True

    def start_run(self, params: dict[str, Any]) -> JobRun:
        """Start a job whose items somebody else offers."""
        self._check_open()
        run = JobRun(self._control, params, self._slots)
        self._nursery.start_soon(run.run)
        return run

    def _stream(self, params: dict[str, Any], inputs: Inputs, window: int, on_error: OnError) -> ResultStream:
        self._check_open()
        check_on_error(on_error)
        run = JobRun(self._control, params, self._slots)
        return ResultStream(run, inputs, self._nursery, self._token, window_items=window, on_error=on_error)

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        self._check_open()
        return await self._control.call(method, params, CALL_TIMEOUT_S)

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("this connection is closed: open another with swarmharness.connect")


def job_params(
    skill: str,
    deadline_s: float | None,
    budget_microcredits: int | None,
    verify: Verify | None,
    replicas: int | None,
    parameters: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the parameters of `job.open`; the node checks their values."""
    options = {
        "deadline_s": deadline_s,
        "budget_microcredits": budget_microcredits,
        "verify": verify,
        "replicas": replicas,
        "parameters": None if parameters is None else dict(parameters),
    }
    return {"skill": skill, **{name: value for name, value in options.items() if value is not None}}


def _peer_id(text: str) -> str:
    try:
        return parse_peer_id(text)
    except ProtocolError as error:
        raise InputError(str(error)) from None


def check_on_error(on_error: str) -> None:
    """Raise ConfigurationError for anything but the two values."""
    if on_error not in ("raise", "return"):
        raise ConfigurationError(f'on_error={on_error!r}: allowed are "raise" and "return"')


def checked(results: list[Result], on_error: OnError) -> list[Result]:
    """Return the results; with `on_error="raise"` only if every one has an output."""
    missing = [result for result in results if result.error is not None]
    if not missing or on_error == "return":
        return results
    first = missing[0]
    if len(missing) < len(results):
        text = f"{len(missing)} of {len(results)} inputs have no result, the first is input {first.index}"
        raise PartialResultError(f"{text}: {first.error}", results)
    assert first.error is not None
    raise error_from_kind(first.error.kind, f"none of {len(results)} inputs has a result: {first.error}")


def lost_on_the_way(error: SwarmError, results: Iterable[Result]) -> SwarmError:
    """Return what to raise when a job was lost after some results came."""
    kept = list(results)
    if not any(result.ok for result in kept):
        return error
    return PartialResultError(f"the job was lost after {len(kept)} results, which are kept: {error}", kept)
