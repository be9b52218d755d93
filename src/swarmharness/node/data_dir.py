"""The data directory: where a node keeps its identity, its lock and its socket; it never reads the configuration."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarmharness.errors import ConfigurationError
from swarmharness.hints import quoted
from swarmharness.identity import SEED_BYTES, Identity

DATA_DIR_VARIABLE = "SWARMHARNESS_DATA_DIR"
LOCK_ATTEMPTS = 5
"""Whoever only asks who holds a directory holds it for an instant."""
LOCK_RETRY_S = 0.02


def default_data_dir() -> Path:
    """`$SWARMHARNESS_DATA_DIR`, else `$XDG_DATA_HOME/swarmharness`, else `~/.local/share/swarmharness`."""
    chosen = os.environ.get(DATA_DIR_VARIABLE)
    return absolute(Path(chosen)) if chosen else _xdg("XDG_DATA_HOME", ".local/share")


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/swarmharness`, else `~/.cache/swarmharness`: models, which can be fetched again."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def model_folder() -> Path:
    """Where model files are kept, by their digest; shared by all nodes of this user."""
    return cache_dir() / "models"


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable, "")
    # The XDG specification says that relative paths are to be ignored.
    return (Path(base) if base.startswith("/") else _home(variable) / fallback) / "swarmharness"


def _home(instead: str) -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigurationError(f"this user has no home directory: set HOME or {instead}") from None


def absolute(path: Path) -> Path:
    """Return a path that a user wrote, with its `~`, as an absolute one."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ConfigurationError(f"{path}: there is no such home directory; write the whole path") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: the current directory is gone: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class DataDir:
    """One node's directory. Building the object touches nothing; `create` makes the directory."""

    path: Path

    @classmethod
    def at(cls, path: Path | None) -> DataDir:
        """Return the directory that a `--data-dir` option names, or the default one."""
        return cls(absolute(path) if path else default_data_dir())

    @property
    def config_file(self) -> Path:
        """The configuration that `node start` reads unless told otherwise; it need not exist."""
        return self.path / "node.toml"

    @property
    def identity_file(self) -> Path:
        """The raw Ed25519 seed, 0600."""
        return self.path / "identity.key"

    @property
    def database(self) -> Path:
        """The SQLite file of receipts."""
        return self.path / "swarm.sqlite"

    @property
    def jobs_database(self) -> Path:
        """The SQLite file of jobs and their results."""
        return self.path / "jobs.sqlite"

    @property
    def reputations_database(self) -> Path:
        """The SQLite file of what checks of results told of peers."""
        return self.path / "reputations.sqlite"

    @property
    def skills_folder(self) -> Path:
        """Skills that the user added."""
        return self.path / "skills"

    @property
    def control_socket(self) -> Path:
        """Where the node listens for commands: `node.control` knows how to reach it, however long the path."""
        return self.path / "control.sock"

    def create(self) -> None:
        """Make the directory, 0700; a foreign or open one is refused."""
        _make_private_directory(self.path)

    def identity(self) -> Identity:
        """Return the node's identity, made on first use; refuses a key that is damaged or that others can read."""
        path = self.identity_file
        seed = self.read_secret(path.name)
        if seed is None:
            self.write_secret(path.name, os.urandom(SEED_BYTES), replace=False)
            seed = self.read_secret(path.name)
        if seed is None or len(seed) != SEED_BYTES:
            raise ConfigurationError(
                f"{path} is damaged ({len(seed or b'')} bytes instead of {SEED_BYTES}): restore it from a backup, or "
                "move it away to start as a new peer without the old one's credit"
            )
        return Identity(seed)

    def read_secret(self, name: str) -> bytes | None:
        """Return a small file that only its owner may read, or None if there is none."""
        path = self.path / name
        with _disk(path):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                return None
            with file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise ConfigurationError(f"{path} can be read by others: chmod 600 {quoted(path)}")
                return file.read(4096)

    def write_secret(self, name: str, data: bytes, *, replace: bool = True) -> None:
        """Write a 0600 file at once and durably; without `replace`, an existing one stays."""
        path = self.path / name
        with _disk(path):
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")  # mkstemp creates 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if replace:
                    Path(temporary).replace(path)
                else:
                    with _ignoring_existing():
                        path.hardlink_to(temporary)
            finally:
                Path(temporary).unlink(missing_ok=True)
            _sync_directory(self.path)

    def remove(self, name: str) -> None:
        """Remove a file durably, if it is there."""
        path = self.path / name
        with _disk(path):
            path.unlink(missing_ok=True)
            _sync_directory(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process until the block ends; refuses while another process holds it.

        The kernel drops the lock with its process, so a crash leaves nothing to clean up.
        """
        path = self.path / "lock"
        with _disk(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(handle):
                raise ConfigurationError(
                    f"{self.path} is in use by the node with pid {_read_pid(handle)}: stop that one with `swarmharness "
                    f"node stop --data-dir {quoted(self.path)}`, or start this one with another --data-dir"
                )
            with _disk(path):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
            yield
        finally:
            os.close(handle)

    def holder_pid(self) -> int | None:
        """The process that holds the directory now, or None."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(handle)
        finally:
            os.close(handle)
        return None


def process_text(pid: int) -> str:
    """Return what to call a process that holds a directory; one that just got it may not have said yet who it is."""
    return f"the process with pid {pid}" if pid else "a process"


def _locked(handle: int) -> bool:
    for attempt in range(LOCK_ATTEMPTS):
        time.sleep(LOCK_RETRY_S if attempt else 0)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
    return False


def _read_pid(handle: int) -> int:
    text = os.pread(handle, 20, 0)
    return int(text) if text.isdigit() else 0


def _make_private_directory(path: Path) -> None:
    with _disk(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.getuid():
            raise ConfigurationError(f"{path} belongs to another user: choose another directory with --data-dir")
        if stat.S_IMODE(found.st_mode) & 0o022:
            raise ConfigurationError(f"others can write to {path}: chmod 700 {quoted(path)}")


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _ignoring_existing() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        return


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "choose another directory with --data-dir")
        raise ConfigurationError(f"cannot use {path}: {error.strerror or error}; {remedy}") from error


_REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your quota on that disk",
    errno.EROFS: "that file system is read-only; choose another directory with --data-dir",
    errno.EACCES: "give yourself permission, or choose another directory with --data-dir",
    errno.ENOTDIR: "a file stands where a directory should be; choose another one with --data-dir",
    errno.EEXIST: "a file stands where a directory should be; choose another one with --data-dir",
}
