"""Shows what the router knows of a node as plain values, for people and for JSON; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from swarmharness.identity import PeerId
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.entry import Known
from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.records import Record, Records


@dataclass(frozen=True, slots=True)
class Model:
    """One of the models that go by a skill's name."""

    digest: bytes
    nodes: int
    """Known nodes that offer it,"""
    usable: int
    """and those of them that can be asked now."""
    local: bool
    """This node is one of them."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "model_digest": self.digest.hex(),
            "nodes": self.nodes,
            "usable": self.usable,
            "local": self.local,
        }


def models_of(known: Iterable[Known], skill: str, *, own_id: PeerId) -> tuple[Model, ...]:
    """Return the models that go by a skill's name, those of most usable nodes first."""
    nodes: dict[bytes, list[Known]] = {}
    for one in known:
        offer = one.advert.skill(skill)
        if offer is not None:
            nodes.setdefault(offer.model_digest, []).append(one)
    found = [
        Model(
            digest,
            len(offering),
            sum(_can_be_asked(one, own_id) for one in offering),
            any(one.advert.peer_id == own_id for one in offering),
        )
        for digest, offering in nodes.items()
    ]
    return tuple(sorted(found, key=lambda model: (-model.usable, -model.nodes, model.digest)))


def _can_be_asked(one: Known, own_id: PeerId) -> bool:
    return one.usable and (one.advert.peer_id == own_id or not one.advert.not_serving)


def peer_rows(
    known: Iterable[Known],
    records: Records,
    policy: RoutingPolicy,
    *,
    own_id: PeerId,
    round_trip_us: Callable[[PeerId], int | None],
    now_us: int,
) -> list[dict[str, Any]]:
    """Return one row for each node."""
    rows = []
    for one in known:
        peer_id = PeerId(one.advert.peer_id)
        rows.append(
            peer_row(one, records, policy, local=peer_id == own_id, round_trip_us=round_trip_us(peer_id), now_us=now_us)
        )
    return rows


def peer_row(
    known: Known, records: Records, policy: RoutingPolicy, *, local: bool, round_trip_us: int | None, now_us: int
) -> dict[str, Any]:
    """Return one node with its skills."""
    advert = known.advert
    return {
        "peer": advert.peer_id,
        "local": local,
        "usable": known.usable,
        "reason": known.reason,
        "not_serving": advert.not_serving_text,
        "addresses": list(advert.addresses),
        "cores": advert.device.cores,
        "memory_mib": advert.device.memory_mib,
        "accelerators": list(advert.device.accelerators),
        "round_trip_us": 0 if local else round_trip_us,
        "skills": [
            _skill_row(offer, records.get(advert.peer_id, offer.model, policy), now_us) for offer in advert.skills
        ],
    }


def unknown_peer_row(peer_id: str, reason: str) -> dict[str, Any]:
    """Return the row of a node that is there, and whose advert was not believed."""
    return {
        "peer": peer_id,
        "local": False,
        "usable": False,
        "reason": reason,
        "not_serving": "",
        "addresses": [],
        "cores": 0,
        "memory_mib": 0,
        "accelerators": [],
        "round_trip_us": None,
        "skills": [],
    }


def _skill_row(offer: SkillAdvert, record: Record, now_us: int) -> dict[str, Any]:
    return {
        "skill": offer.name,
        "version": offer.version,
        "model_digest": offer.model_digest.hex(),
        "provider": offer.provider,
        "price_microcredits": offer.price_microcredits,
        "advertised_us": offer.service_us,
        "measured_us": record.estimate.service_us,
        "answers": record.estimate.answers,
        "failures": record.estimate.failures,
        "outstanding_items": record.estimate.outstanding_items,
        "trust": record.trust.micro / MICRO,
        "breaker": str(record.breaker.state(now_us)),
    }
