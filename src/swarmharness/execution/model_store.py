"""Keeps model files by their SHA-256 and fetches the missing ones; never a file with another digest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError
from swarmharness.execution.skill import ModelFile, SkillManifest, Source

if TYPE_CHECKING:
    import ssl

    from swarmharness.execution.model_sources import SourceReader

Progress = Callable[[str, int, int], None]
"""Called with (file or package, bytes so far, bytes in all or 0 if nobody knows), from the thread that fetches."""

FETCHES_MAX = 4
STOP_S = 1.0
"""How long a fetch that is stopped waits for what it has under way: pip and open files need a tenth of it."""
_PARTIAL = ".partial-"
_UNFINISHED_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where one file of a skill came from."""

    file: ModelFile
    origin: str
    """`cache`, or the description of the source."""


class ModelStore:
    """A folder of files named by their SHA-256 in hexadecimal."""

    def __init__(self, folder: Path, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._folder = folder
        self._ssl_context = ssl_context

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self._folder

    def path(self, sha256: bytes) -> Path:
        """Return where the file with this digest lies, or would lie."""
        return self._folder / sha256.hex()

    def has(self, file: ModelFile) -> bool:
        """Tell whether the file is there in full; its digest was checked when it came, and is when it is loaded."""
        try:
            return self.path(file.sha256).stat().st_size == file.size_bytes
        except OSError:
            return False

    def discard(self, files: Iterable[ModelFile]) -> None:
        """Remove files that turned out to be of no use, with what was noted about them."""
        for file in files:
            for path in self._folder.glob(f"{file.sha256.hex()}*"):
                path.unlink(missing_ok=True)

    def missing(self, manifest: SkillManifest) -> tuple[ModelFile, ...]:
        """Return the files of a skill that are not in the store."""
        return tuple(file for file in manifest.files if not self.has(file))

    def lacking(self, manifest: SkillManifest) -> str:
        """Say which files of a skill are not here, or not whole, and what to do; empty if all are here."""
        missing = self.missing(manifest)
        if not missing:
            return ""
        damaged = any(self.path(file.sha256).exists() for file in missing)
        state = "is damaged" if damaged else "is not on this machine"
        return f"its model {state}: swarmharness skills pull {manifest.name}"

    def fetch(
        self,
        manifest: SkillManifest,
        skill_folder: Path | None,
        progress: Progress | None = None,
        stopped: threading.Event | None = None,
    ) -> tuple[Fetched, ...]:
        """Bring every file of a skill into the store, several at a time, and say where each came from.

        A file that is there already is checked again; setting `stopped` ends the fetch. Raises UnavailableError (no
        source has it, or the disk is full), InputError (every source gave something else), ConfigurationError (the
        store cannot be written).
        """
        from swarmharness.execution.model_sources import SourceReader  # a node only looks files up, and needs no https

        report, stopped = progress or _silent, stopped or threading.Event()
        with (
            self._writable(),
            tempfile.TemporaryDirectory(
                prefix=own_unfinished(_PARTIAL), dir=self._folder, ignore_cleanup_errors=True
            ) as folder,
        ):
            reader = SourceReader(
                skill_folder=skill_folder,
                workspace=Path(folder),
                stopped=stopped,
                report=report,
                ssl_context=self._ssl_context,
            )
            return _side_by_side(lambda file: self._bring(manifest, file, reader, report), manifest.files, stopped)

    def _bring(self, manifest: SkillManifest, file: ModelFile, reader: SourceReader, report: Progress) -> Fetched:
        with self._writable():
            if self.has(file) and digest_of(self.path(file.sha256)) == file.sha256:
                report(file.name, file.size_bytes, file.size_bytes)
                return Fetched(file, "cache")
            self._check_space(file)
        from swarmharness.execution.model_sources import describe

        problems: list[str] = []
        wrong = False
        for source in sources_in_order(file):
            try:
                self._receive(source, file, reader, report)
                return Fetched(file, describe(source))
            except (InputError, UnavailableError) as error:
                wrong = wrong or isinstance(error, InputError)
                problems.append(f"{describe(source)}: {error}")
        kind: type[SwarmError] = InputError if wrong else UnavailableError
        raise kind(f"{file.name} of skill {manifest.name} could not be fetched: {'; '.join(problems)}")

    def _receive(self, source: Source, file: ModelFile, reader: SourceReader, report: Progress) -> None:
        report(file.name, 0, file.size_bytes)
        with self._writable():
            descriptor, name = tempfile.mkstemp(prefix=own_unfinished(_PARTIAL), dir=self._folder)
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    digest, size_bytes = hashlib.sha256(), 0
                    for chunk in reader.chunks(source, file):
                        size_bytes += len(chunk)
                        digest.update(chunk)
                        stream.write(chunk)
                        report(file.name, min(size_bytes, file.size_bytes), file.size_bytes)
                    stream.flush()
                    os.fsync(descriptor)
                _check(file, size_bytes, digest.digest())
                temporary.replace(self.path(file.sha256))
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(self._folder)

    def _check_space(self, file: ModelFile) -> None:
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < file.size_bytes:
            raise disk_full(self._folder, file.size_bytes)

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        """Make the folder, and turn the system's errors about it into ours."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sweep(self._folder, _PARTIAL)
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(self._folder) from None
            raise ConfigurationError(
                f"the model store {self._folder} cannot be used: {error.strerror or error}; "
                "make it writable, or set XDG_CACHE_HOME to a folder that is"
            ) from None


def _side_by_side(
    bring: Callable[[ModelFile], Fetched], files: Sequence[ModelFile], stopped: threading.Event
) -> tuple[Fetched, ...]:
    """Return what `bring` gives for each file, a few at a time; the first error is raised once all have ended.

    The threads are such that nobody waits for at the end: what hangs on a silent network cannot be woken.
    """
    slots = threading.Semaphore(FETCHES_MAX)

    def work(file: ModelFile, task: Future[Fetched]) -> None:
        with slots:
            try:
                task.set_result(bring(file))
            except BaseException as error:
                task.set_exception(error)

    tasks: list[Future[Fetched]] = [Future() for _ in files]
    try:
        for job in zip(files, tasks, strict=True):
            threading.Thread(target=work, args=job, name="fetch", daemon=True).start()
        wait(tasks)
    except BaseException:  # Ctrl-C
        stopped.set()
        wait(tasks, STOP_S)
        raise
    return tuple(task.result() for task in tasks)


def own_unfinished(prefix: str) -> str:
    """Return how the names of what this process has not finished begin."""
    return f"{prefix}{os.getpid()}-"


def sweep(folder: Path, prefix: str) -> None:
    """Remove what killed processes left unfinished: they are gone, or (by another release) it is a day old."""
    for path in folder.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if _is_orphan(path.name.removeprefix(prefix)) or time.time() - path.stat().st_mtime > _UNFINISHED_AGE_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_orphan(name: str) -> bool:
    pid = name.partition("-")[0]
    return pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists()


def sources_in_order(file: ModelFile) -> Sequence[Source]:
    """Return the sources to try after the store itself, in order; other peers of the swarm will come first here."""
    return file.sources


def digest_of(path: Path) -> bytes:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def disk_full(folder: Path, needed_bytes: int = 0) -> UnavailableError:
    """Return the error that says so, and what to do."""
    needed = f" ({needed_bytes / 2**20:.0f} MiB needed)" if needed_bytes else ""
    return UnavailableError(f"the disk that holds {folder} is full{needed}; free some space and try again")


def _check(file: ModelFile, size_bytes: int, digest: bytes) -> None:
    if size_bytes != file.size_bytes:
        amount = f"{size_bytes}" if size_bytes < file.size_bytes else f"more than {file.size_bytes}"
        raise InputError(f"{amount} bytes, expected {file.size_bytes}")
    if digest != file.sha256:
        raise InputError(f"wrong content: SHA-256 {digest.hex()}, expected {file.sha256.hex()}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _silent(name: str, done_bytes: int, all_bytes: int) -> None:
    """Report to nobody."""
