"""Names one model of a skill, by its digest in code and as SKILL@DIGEST in commands; pure, it finds no node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from swarmharness.errors import ConfigurationError, UnavailableError

DIGITS_MIN = 8
"""They tell models apart that differ by accident. Whoever fears a model made to look alike gives all 64."""
DIGITS_MAX = 64
DIGITS_SHOWN = 12
_DIGITS = re.compile(rf"[0-9a-f]{{{DIGITS_MIN},{DIGITS_MAX}}}")


class ModelKey(NamedTuple):
    """What a job is pinned to, and what a peer is judged by."""

    skill: str
    digest: bytes
    """SHA-256; empty for the skill as a whole, whatever its model."""

    @property
    def name(self) -> str:
        """What `submit` takes for it, with as many digits as tell it from others."""
        return f"{self.skill}@{self.digest.hex()[:DIGITS_SHOWN]}" if self.digest else self.skill

    def __str__(self) -> str:
        """Return it for a sentence."""
        return f"{self.skill!r} with the model {self.digest.hex()[:DIGITS_SHOWN]}…" if self.digest else repr(self.skill)


@lru_cache(maxsize=4096)
def model_key(skill: str, digest: bytes) -> ModelKey:
    """Return the key; equal ones are one object, so that looking one up costs no comparison."""
    return ModelKey(skill, digest)


def parse_skill(text: str) -> tuple[str, str]:
    """Return the name in SKILL or SKILL@DIGEST, and the digits, or an empty string; raises ConfigurationError."""
    skill, at, digits = text.partition("@")
    digits = digits.lower()
    if at and not _DIGITS.fullmatch(digits):
        raise ConfigurationError(
            f"{text!r}: after the @ come {DIGITS_MIN} to {DIGITS_MAX} hexadecimal digits of the model's digest, as"
            " `swarmharness peers --json` shows it"
        )
    return skill, digits


def select(skill: str, digits: str, served: Mapping[bytes, int]) -> bytes:
    """Return the one digest that begins with `digits`; `served` holds how many nodes serve each.

    Raises ConfigurationError if several begin so, UnavailableError if none does.
    """
    found = sorted(digest for digest in served if digest.hex().startswith(digits))
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(f"several models of {skill!r} begin with {digits}: {listed(found)}; give more digits")
    raise UnavailableError(
        f"no node serves {skill!r} with a model whose digest begins with {digits}; served are"
        f" {', '.join(counted(digest, nodes) for digest, nodes in sorted(served.items()))}"
    )


def listed(digests: Iterable[bytes]) -> str:
    """Return digests in full, for whoever copies one."""
    return ", ".join(digest.hex() for digest in digests)


def counted(digest: bytes, nodes: int) -> str:
    """Return a digest with the number of its nodes."""
    return f"{digest.hex()} ({nodes} node{'' if nodes == 1 else 's'})"
