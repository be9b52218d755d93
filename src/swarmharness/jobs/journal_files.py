"""The two connections to a journal, and its healing: a damaged file is set aside, and what can be read of it kept.

Everything here blocks, and is called by one thread at a time for each connection; it never touches trio.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from swarmharness.errors import DamagedFileError, UnavailableError
from swarmharness.jobs.journal_file import JournalFile
from swarmharness.jobs.journal_salvage import salvage
from swarmharness.sqlite_connection import set_aside

T = TypeVar("T")

_log = logging.getLogger(__name__)


class JournalFiles:
    """`writer` and `reader` of the journal at `path`. A damaged one is healed while it is opened."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError for a file that is not a journal, or one of a newer version."""
        self._path = path
        self._mended = path.with_name(path.name + ".mending")
        self._open_files: tuple[JournalFile, JournalFile] | None = None
        self._damage: DamagedFileError | None = None
        self.healed = 0
        """How often it was healed."""
        try:
            if not path.exists() and self._mended.exists():
                self._mended.rename(path)  # a healing was cut off at its last step
            self._open()
        except DamagedFileError as error:
            self.heal(error)

    @property
    def writer(self) -> JournalFile:
        """The connection that writes; raises DamagedFileError while a damaged file could not be healed."""
        return self._files()[0]

    @property
    def reader(self) -> JournalFile:
        """The connection that reads; raises as `writer` does."""
        return self._files()[1]

    def read(self, query: Callable[[JournalFile], T]) -> T:
        """Ask the reader; a row that cannot be what it should be is a DamagedFileError."""
        with self.reader.readable():
            return query(self.reader)

    def heal(self, damage: DamagedFileError) -> None:
        """Copy what can be read into another file, set the damaged one aside, and go on with the other one.

        Nobody may use a connection now. Raises UnavailableError if the disk does not let it: try again.
        """
        # The reader is the last to close, for it moves nothing: the log may be damaged, and the file under it whole.
        self._close(*(self._open_files or ()))
        self._damage = damage
        try:
            kept = self._salvaged()
            aside = set_aside(self._path, time.time_ns() // 1000)
            self._mended.rename(self._path)
        except OSError as error:
            raise UnavailableError(f"{damage}, and it cannot be mended now: {error.strerror}") from None
        self._open()
        self.healed += 1
        _log.error(
            "the journal of jobs %s was damaged: it is now %s, and a new one goes on with what could be read of it"
            " (%d jobs, %d answers); `swarmharness jobs resume JOB` goes on with a job",
            *(self._path, aside, kept["jobs"], kept["answers"]),
        )

    def close(self) -> None:
        """Close both connections."""
        self._close(*reversed(self._open_files or ()))  # the writer is the last, which empties the write-ahead log

    def _close(self, *files: JournalFile) -> None:
        self._open_files = None
        for file in files:
            file.close()

    def _salvaged(self) -> Counter[str]:
        for suffix in ("", "-wal", "-shm"):  # what a healing that was cut off left
            self._mended.with_name(self._mended.name + suffix).unlink(missing_ok=True)
        mended = JournalFile(self._mended)
        try:
            kept = salvage(self._path, mended)
            mended.fold()  # closing would, too, and not say if the disk took only a part
            return kept
        finally:
            mended.close()

    def _files(self) -> tuple[JournalFile, JournalFile]:
        if self._open_files is None:
            raise self._damage or UnavailableError("the journal of jobs is closed")
        return self._open_files

    def _open(self) -> None:
        writer = JournalFile(self._path)
        try:
            self._open_files = writer, JournalFile(self._path, read_only=True)
        except BaseException:
            writer.close()
            raise
