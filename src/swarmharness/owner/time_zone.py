"""What clocks on the wall show: reads this machine's time zone anew when it changes, as laptops travel; judges nothing.

The C library looks at /etc/localtime again, but never at a file that the variable TZ names. That is done here.
"""

from __future__ import annotations

import io
import os
import struct
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from swarmharness.owner.ports import LocalTime

FILE_BYTES_MAX = 1024 * 1024
_Stamp = tuple[int, int, int]


class _Whole(io.BytesIO):
    """A file that is not shorter than it says: zoneinfo reads the footer of one that is for ever."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise ValueError("it is cut short")
        return data


class SystemWallClock:
    """The time zone of this machine, as it is now."""

    def __init__(self) -> None:
        self._seen: tuple[Path, _Stamp] | None = None
        self._zone: ZoneInfo | None = None

    def elapsed_us(self) -> int:
        """See `ports.WallClock`; where the system has no such clock, the time asleep does not count."""
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000

    def local(self, unix_s: int) -> LocalTime:
        """See `ports.WallClock`."""
        shown = self._shown(unix_s)
        return LocalTime(shown.weekday(), shown.hour * 60 + shown.minute)

    def text(self, unix_s: int, *, now_unix_s: int) -> str:
        """See `ports.WallClock`."""
        then, now = self._shown(unix_s), self._shown(now_unix_s)
        return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")

    def _shown(self, unix_s: int) -> datetime:
        zone = self._zone_of_variable()
        if zone is not None:
            return datetime.fromtimestamp(unix_s, zone)
        time.tzset()
        return datetime(*time.localtime(unix_s)[:6])

    def _zone_of_variable(self) -> ZoneInfo | None:
        """Return the zone in the file that TZ names, read again when that changed; None if it names none."""
        try:
            path = zone_file(os.environ.get("TZ", ""))
            found = None if path is None else path.stat()
            if path is None or found is None:
                return None
            seen = path, (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                with path.open("rb") as file:
                    self._zone = ZoneInfo.from_file(_Whole(file.read(FILE_BYTES_MAX)))
                self._seen = seen
        except (OSError, ValueError, AssertionError, struct.error):  # zoneinfo raises all of these
            return None  # as the C library sees it, which takes such a zone for UTC
        return self._zone


def zone_file(variable: str) -> Path | None:
    """Return the file that a value of TZ names, see tzset(3); None if it describes the zone itself, or nothing."""
    name = variable.removeprefix(":")
    if not name:
        return None
    candidates = [Path(name)] if name.startswith("/") else [Path(folder) / name for folder in TZPATH]
    return next((path for path in candidates if path.is_file()), None)
