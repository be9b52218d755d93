"""What nodes tell one another of their load: the payloads of `load.probe` and `load.tell`; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from swarmharness.protocol.codec import Added, Range, Size
from swarmharness.protocol.method import Method
from swarmharness.registry.advert import SKILLS_MAX, SkillName

_US = Range(0, 2**50)


@dataclass(frozen=True, slots=True)
class SkillLoad:
    """A node's account of one skill: claims, which requesters compare with what happens."""

    skill: SkillName
    queued_items: Annotated[int, Range(0, 2**32)]
    """Accepted and not answered, those under way included."""
    slots: Annotated[int, Range(1, 1024)]
    """Calls that run at a time."""
    service_us: Annotated[int, _US]
    """Smoothed time of one item lately, without waiting; 0 while nothing ran."""
    latency_us: Annotated[int, _US]
    """Median time in which such calls were answered lately that found about as many items before them; 0: unknown."""


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Asks a node for its load in one skill; the answer is a `Load`.

    Now and then it says how the asked node stands with the asker, who has just sent a task of the skill somewhere.
    """

    skill: SkillName
    expected_us: Annotated[int, _US, Added()] = 0
    """When an answer of the asked node would be expected here; 0: not said."""
    best_us: Annotated[int, _US, Added()] = 0
    """When one of the best node is."""
    why: Annotated[str, Size(32), Added()] = ""
    """By which term it loses to the best, or why it is not asked, in one word; empty: not said."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a node; empty if it does not serve what was asked."""

    skills: Annotated[tuple[SkillLoad, ...], Size(SKILLS_MAX)]


@dataclass(frozen=True, slots=True)
class LoadHeard:
    """Says that gossip of load arrived, whatever became of it."""


METHOD_PROBE = Method("load.probe", ProbeRequest, Load)
METHOD_TELL = Method("load.tell", Load, LoadHeard)
