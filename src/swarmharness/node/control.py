"""The control socket: a node's own user calls its API over a Unix socket that only that user can open.

Both ends speak the framed channel of the network package, without heartbeat, with MessagePack maps as payloads.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgpack
import msgspec
import trio

from swarmharness import __version__
from swarmharness.errors import ConfigurationError, PeerLostError, ProtocolError, UnavailableError, cause_text
from swarmharness.hints import quoted
from swarmharness.identity import PeerId
from swarmharness.network.channel import Channel
from swarmharness.network.handlers import Handlers
from swarmharness.network.ports import Request
from swarmharness.network.settings import ChannelSettings
from swarmharness.node.data_dir import DataDir, process_text
from swarmharness.protocol.elements import check_elements
from swarmharness.protocol.places import DECODE_ERRORS

SOCKET_PATH_BYTES_MAX = 100
"""Linux allows 107 bytes and macOS 103 for the path of a Unix socket."""
MESSAGE_BYTES_MAX = 256 * 2**20
PLAIN_BYTES_MAX = 16 * 2**20
"""Of a request or an answer of methods that carry neither items, outputs nor receipts."""
LARGE_REQUESTS = frozenset({"job.feed", "job.know", "credit.import"})
LARGE_ANSWERS = frozenset({"job.results"})
REQUEST_ELEMENTS_MAX, ANSWER_ELEMENTS_MAX = 2**18, 2**22
"""Names and values in a message, those inside others included; counting a million takes 0.1 s."""
_METHOD = "control"
_SETTINGS = ChannelSettings(
    heartbeat_s=0,
    own_user=True,
    software=f"swarmharness {__version__}",
    inline_bytes_max=MESSAGE_BYTES_MAX,
    window_bytes=3 * MESSAGE_BYTES_MAX,
    queue_bytes_max=3 * MESSAGE_BYTES_MAX,
)
_USER = PeerId("")

_log = logging.getLogger(__name__)


class NodeLostError(PeerLostError):
    """The node that a command asked ended, or was ended, before it answered."""

    def naming(self, job_id: str) -> NodeLostError:
        """Return the error for whoever waits for a job of that node: the job outlives it."""
        go_on = f"start it again, and `swarmharness jobs resume {job_id}` goes on with the job"
        return NodeLostError(f"{self}; {go_on}")


class Control(Protocol):
    """Whatever answers the calls of a command: a running node behind its socket, or a short-lived client."""

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        """Return the answer, or raise the node's SwarmError."""


class RemoteControl:
    """A running node, seen through its socket."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        """See `Control`."""
        payload = _packed([method, dict(params)])
        try:
            answer = await self._channel.call(_METHOD, payload, timeout_s=timeout_s)
        except PeerLostError as error:
            raise NodeLostError(f"the node went away: {error}") from None
        _check_bytes(f"the answer to {method}", answer, method in LARGE_ANSWERS)
        return _unpacked(answer, ANSWER_ELEMENTS_MAX)


@asynccontextmanager
async def open_control(directory: DataDir) -> AsyncIterator[RemoteControl]:
    """Connect to the node that runs on a data directory; raises UnavailableError if there is none."""
    path = directory.control_socket
    try:
        with _reachable(path) as name:
            stream = await trio.open_unix_socket(name)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ConfigurationError(f"{path} belongs to another user's node") from None
        raise UnavailableError(_why_nobody_answers(directory)) from None
    channel = Channel(stream, _USER, Handlers(), _SETTINGS)
    software = (await channel.handshake()).software
    if software != _SETTINGS.software:
        _log.warning(
            "the node runs %s, this command is %s: restart the node to bring it up to date; until then some"
            " commands may fail",
            *(software if " " in software else f"{software} 0.1.0 or earlier", _SETTINGS.software),
        )
    running = trio.CancelScope(shield=True)  # so that whoever is cancelled can still cancel a job

    async def run() -> None:
        with running:
            await channel.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield RemoteControl(channel)
        finally:
            running.cancel()


async def serve_control(
    path: Path, api: Control, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer calls on the socket at `path`, which is replaced and made 0600, until cancelled."""

    async def answer(request: Request) -> bytes:
        method, params = _call(request.payload)
        return _packed(await api.call(method, params, request.timeout_s))

    handlers = Handlers({_METHOD: answer})

    async def serve(stream: trio.SocketStream) -> None:
        channel = Channel(stream, _USER, handlers, _SETTINGS)
        try:
            await channel.handshake()
        except (ProtocolError, UnavailableError):
            return  # whoever it was, it left or does not speak our protocol
        await channel.run()

    listener = _listen(path)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve, [listener])
            task_status.started()
    finally:
        _remove(path)


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Yield a name of a socket's path that fits into a socket's address; good in this process and block only.

    The folder is opened, and named by its descriptor: so the socket lies in the data directory however deep that is,
    and whoever knows the directory finds it, whatever the environment says.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield os.fspath(path)
        return
    if not Path("/proc/self/fd").is_dir():
        raise ConfigurationError(f"{path.parent} is too long for the control socket here: choose a shorter --data-dir")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _why_nobody_answers(directory: DataDir) -> str:
    pid = directory.holder_pid()
    if pid is not None:
        return (
            f"{process_text(pid)} uses {directory.path} and takes no commands: it starts or stops just now, or it is a"
            " command that joined a swarm by itself; try again in a moment"
        )
    start = f"swarmharness node start --data-dir {quoted(directory.path)}"
    return f"no node runs on {directory.path}: start one with `{start}`"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listen(path: Path) -> trio.SocketListener:
    if path.is_socket():
        _remove(path)  # a dead node's: whoever calls this holds the data directory's lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)  # so that there is no moment between bind and chmod in which others could connect
    try:
        with _reachable(path) as name:
            listener.bind(name)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot make the control socket {path}: {error.strerror}") from None
    finally:
        os.umask(umask)
    listener.listen(16)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


def _packed(value: Any) -> bytes:
    # A path may hold bytes that are no UTF-8; both ends are the same user's, and have it as Python has.
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def _call(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Return the method and the parameters of a call; nothing of these is built before their size is checked."""
    try:
        method, rest = _envelope.decode(payload)
    except DECODE_ERRORS:
        raise ProtocolError("a control call is [method, parameters]") from None
    _check_bytes(f"a call of {method}", rest, method in LARGE_REQUESTS)
    params = _unpacked(rest, REQUEST_ELEMENTS_MAX)
    if not isinstance(params, dict):
        raise ProtocolError("a control call is [method, parameters]")
    return method, params


_envelope = msgspec.msgpack.Decoder(tuple[Annotated[str, msgspec.Meta(max_length=64)], msgspec.Raw])


def _check_bytes(what: str, data: bytes | msgspec.Raw, large: bool) -> None:
    size, most = memoryview(data).nbytes, MESSAGE_BYTES_MAX if large else PLAIN_BYTES_MAX
    if size > most:
        raise ProtocolError(f"{what} has {size} bytes, at most {most} are allowed")


def _unpacked(data: bytes | msgspec.Raw, elements_max: int) -> Any:
    view = memoryview(data)
    check_elements(view, elements_max, "a control message")
    try:
        return msgpack.unpackb(view, strict_map_key=False, unicode_errors="surrogateescape")  # noqa: TID251
    except Exception as error:  # msgpack raises a dozen kinds, all of which mean "not MessagePack"
        raise ProtocolError(f"a control message is not MessagePack ({cause_text(error)})") from None
