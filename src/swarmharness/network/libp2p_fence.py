"""Bounds what a fault inside libp2p ends: a stream, a connection, or a service for a moment; never the host (X-1).

libp2p runs handlers of streams, tasks of connections and its services in a few nurseries, and an exception that none
of them expected ends everything in the nursery. Here each of those places has a fence: the fault is counted, the log
names it once per kind and minute, and what it belongs to is closed or started again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.host.exceptions import HostException
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.tools.anyio_service import Service
from libp2p.tools.anyio_service.exceptions import LifecycleError
from libp2p.tools.anyio_service.trio_manager import TrioManager

from swarmharness.log_lines import by_peers
from swarmharness.refusals import Reason, Refusals

_LOG = logging.getLogger(__name__)
BACK_OFF_FIRST_S, BACK_OFF_MOST_S = 0.5, 60.0
STEADY_S = 300.0
"""A service that ran so long starts again without a long rest."""
_CLOSE_S = 1.0
_ORDINARY = (
    HostException,
    IOException,
    RawConnError,
    MuxedConnError,
    MuxedStreamError,
    SwarmException,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    OSError,
)
"""What the end of a stream or connection looks like from inside libp2p: no fault, and nothing to tell."""


class Fence:
    """One for each host. `refused` counts the faults, by the place in libp2p where they happened."""

    def __init__(self, refused: Refusals) -> None:
        self._refused = refused

    @contextmanager
    def around(
        self,
        place: str,
        what: str = "",
        tell: Callable[[], None] = lambda: None,
        *,
        peer_id: str = "",
        host: str = "",
    ) -> Iterator[None]:
        """Let no fault of the block out, but cancellation; `tell` is called after one, and after an ordinary end.

        `peer_id` or `host` is whom it concerns.
        """
        try:
            yield
        except BaseException as error:
            faults, rest = _split(error)
            if faults is not None:
                self._note(place, what, faults, peer_id, host)
                tell()
            if rest is not None:
                raise rest from None

    def stream_handler(self, handler: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """Wrap what libp2p calls for every stream that a peer opens: what fails costs that stream."""

        async def fenced(stream: INetStream) -> None:
            failed = trio.Event()
            with self.around("stream", tell=failed.set, peer_id=_peer_of(stream)):
                await handler(stream)
            if failed.is_set():
                with self.around("stream", "reset"), trio.move_on_after(_CLOSE_S):
                    await stream.reset()

        return fenced

    async def run_task(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run what a service of libp2p starts beside itself; a task of a connection that fails ends that connection."""
        failed, owner = trio.Event(), getattr(function, "__self__", None)
        name = getattr(function, "__qualname__", "") or type(function).__name__
        with self.around("task", name, failed.set, peer_id=_peer_of(owner)):
            await function(*arguments)
        if failed.is_set() and isinstance(owner, INetConn | IMuxedConn):
            with self.around("task", "close"), trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                await owner.close()

    async def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a service until this is cancelled: one that fails, or ends, runs again after a growing rest.

        `node status` and `doctor` name it for an hour.
        """
        rest_s = BACK_OFF_FIRST_S
        while True:
            began_s = trio.current_time()
            with self.around("service", name):
                await run()
            if trio.current_time() - began_s > STEADY_S:
                rest_s = BACK_OFF_FIRST_S
            text = f"the {name} of libp2p failed; it runs again {rest_s:g} s later: this node's log says why"
            self._refused.tell(Reason.SERVICE, name, text)
            await trio.sleep(rest_s)
            rest_s = min(2 * rest_s, BACK_OFF_MOST_S)

    @asynccontextmanager
    async def service(self, service: Service) -> AsyncIterator[None]:
        """Run a service of libp2p for as long as the block lasts; only what it cannot live without ends it."""
        async with trio.open_nursery() as nursery:
            manager = service._manager = _FencedManager(service, self)
            nursery.start_soon(manager.run)
            await manager.wait_started()
            nursery.start_soon(_cancel_at_end, manager, nursery.cancel_scope)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    def nursery(self, nursery: trio.Nursery) -> FencedNursery:
        """Return what libp2p may start tasks in as it does in `nursery`."""
        return FencedNursery(nursery, self)

    def _note(self, place: str, what: str, faults: Exception, peer_id: str, host: str) -> None:
        causes = list(_leaves(faults))
        cause = next((one for one in causes if not isinstance(one, _ORDINARY)), None)
        if cause is None and place != "service":
            _LOG.debug("a %s of libp2p ended (%s): %r", place, what, causes[0])
            return
        self._refused.note(f"libp2p {place}", peer_id, host=host)
        kind = by_peers(place, what, type(cause or causes[0]).__name__)
        _LOG.error("libp2p failed; only this %s ends (%s)", place, what or "no name", exc_info=faults, extra=kind)


class FencedNursery:
    """Starts tasks that cannot end the nursery; it has no more of a nursery than libp2p uses."""

    def __init__(self, nursery: trio.Nursery, fence: Fence) -> None:
        self._nursery = nursery
        self._fence = fence

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """The nursery's."""
        return self._nursery.cancel_scope

    def start_soon(self, function: Callable[..., Awaitable[Any]], *arguments: Any, name: object = None) -> None:
        """Start a task."""
        self._nursery.start_soon(partial(self._fence.run_task, function), *arguments, name=name or function)


class _FencedManager(TrioManager):  # type: ignore[misc]
    """Runs a service of libp2p: a task that it starts beside itself ends alone, a daemon ends the service."""

    def __init__(self, service: Service, fence: Fence) -> None:
        super().__init__(service)
        self._fence = fence

    def run_task(
        self,
        async_fn: Callable[..., Awaitable[Any]],
        *args: Any,
        daemon: bool = False,
        name: str | None = None,
        _internal: bool = False,
    ) -> None:
        """See `ManagerAPI`.

        Tasks are in no tree: libp2p walks through it at every start, and ends a parent of more than 1,000.
        """
        if daemon or _internal:
            super().run_task(_essential, async_fn, *args, daemon=daemon, name=name, _internal=_internal)
        elif self._task_nursery is None or not self.is_running:
            raise LifecycleError("no task can be started before or after the service")
        else:
            self._task_nursery.start_soon(partial(self._fence.run_task, async_fn), *args)


class _ServiceEndedError(Exception):
    """What a service of libp2p cannot live without has ended; libp2p itself would go on without a word."""


async def _essential(function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    name = getattr(function, "__qualname__", "a task")
    try:
        await function(*arguments)
    except Exception as error:
        raise _ServiceEndedError(f"{name} failed") from error
    raise _ServiceEndedError(f"{name} ended")


async def _cancel_at_end(manager: TrioManager, scope: trio.CancelScope) -> None:
    """End the block of a service that ended by itself."""
    await manager.wait_finished()
    scope.cancel()


def _peer_of(owner: object) -> str:
    """Return the peer at the other end of a stream or connection of libp2p; empty for anything else."""
    peer_id = getattr(getattr(owner, "muxed_conn", owner), "peer_id", None)
    return peer_id.to_base58() if isinstance(peer_id, ID) else ""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _split(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """Return what failed, and what must go on: cancellation, and whatever else is no `Exception`."""
    if isinstance(error, Exception):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        faults, rest = error.split(Exception)
        return faults, rest
    return None, error
