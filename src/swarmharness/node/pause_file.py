"""Keeps the owner's pause in the data directory; it decides nothing."""

from __future__ import annotations

import json
import logging

from swarmharness.errors import ConfigurationError
from swarmharness.json_text import read_json
from swarmharness.node.data_dir import DataDir
from swarmharness.owner.durations import DURATION_S_MAX
from swarmharness.owner.ports import Pause

NAME = "pause.json"
UNIX_S_MAX = 2**40

_log = logging.getLogger(__name__)


class PauseFile:
    """See `owner.ports.PauseStore`."""

    def __init__(self, directory: DataDir) -> None:
        self._directory = directory

    def load(self) -> Pause | None:
        """See `PauseStore`; a file that cannot be read is a pause without end: the owner meant something by it."""
        try:
            data = self._directory.read_secret(NAME)
            return None if data is None else _parsed(data)
        except (ConfigurationError, ValueError) as error:
            path = self._directory.path / NAME
            _log.warning("%s cannot be read, so this node is paused until `node resume`: %s", path, error)
            return Pause()

    def save(self, pause: Pause | None) -> None:
        """See `PauseStore`."""
        if pause is None:
            self._directory.remove(NAME)
        else:
            text = json.dumps({"version": 1, "until_unix_s": pause.until_unix_s, "for_s": pause.for_s})
            self._directory.write_secret(NAME, text.encode())


def _parsed(data: bytes) -> Pause:
    """Return the pause in a file's text, of this or of an earlier release; raises ValueError."""
    found = read_json(data)
    if not (isinstance(found, dict) and found.get("version") == 1):
        raise ValueError("it is not a pause of this version")
    until_unix_s = found.get("until_unix_s", False)
    for_s = found.get("for_s", DURATION_S_MAX)  # what was written before files told it
    if until_unix_s is None:
        return Pause()
    if not (type(until_unix_s) is int and 0 <= until_unix_s <= UNIX_S_MAX):
        raise ValueError("it does not say until when")
    if not (type(for_s) is int and 0 <= for_s <= DURATION_S_MAX):
        raise ValueError("it does not say for how long")
    return Pause(until_unix_s, for_s)
