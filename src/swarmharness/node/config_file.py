"""Reads the small text files that a node is configured by, with their permissions; it knows no key of theirs."""

from __future__ import annotations

import stat
from pathlib import Path

from swarmharness.errors import ConfigurationError
from swarmharness.hints import quoted
from swarmharness.text_bytes import text_from

FILE_BYTES_MAX = 1024 * 1024
PSK_BYTES = 32


def read_text(path: Path) -> tuple[str, int]:
    """Return a file's text and the bits of its mode; raises ConfigurationError if it is too large or cannot be read."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{path} is larger than {FILE_BYTES_MAX} bytes: it is not a configuration")
        return text_from(data), mode
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist: `swarmharness config init` writes one") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None


def read_psk(path: Path) -> bytes:
    """Return the 32-byte pre-shared key in a file of 64 hexadecimal digits that only its owner can read."""
    text, mode = read_text(path)
    if mode & 0o077:
        raise ConfigurationError(f"{path} can be read by others: chmod 600 {quoted(path)}")
    try:
        psk = bytes.fromhex(text.strip())
    except ValueError:
        psk = b""
    if len(psk) != PSK_BYTES:
        raise ConfigurationError(
            f"{path} should hold {2 * PSK_BYTES} hexadecimal digits: openssl rand -hex 32 > {quoted(path)}"
        )
    return psk
