"""What `credit explain` says about one receipt: whose it is, why its share is what it is, where it stands; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swarmharness.credit.audit import StoredEntry, is_sole, judge_entry, recomputed, share_problem
from swarmharness.credit.ledger import unexpired
from swarmharness.credit.receipt import EPOCH_US, Half, ReceiptBody, link_digest
from swarmharness.json_text import read_json

RULES = {
    "batch": "each chunk's price goes in equal parts to the workers whose answers matched",
    "speculative": "the best answer counts; each step of utility is divided among all who reach it",
    "pipeline": "each stage gets its weight's part of the price, its nodes divide that equally",
    "capped": "the Shapley value of capacities up to a demand: a worker gets what it adds, averaged over all orders",
    "table": "the Shapley value of the listed coalitions: a worker gets what it adds, averaged over all orders",
}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The receipts before and after a half in its signer's chain, as far as they are here."""

    before: bytes | None
    after: bytes | None


def explain(
    stored: StoredEntry,
    game: bytes | None,
    places: Sequence[tuple[Half, Neighbours]],
    *,
    me: str,
    epoch: int,
    horizon_epochs: int,
) -> dict[str, Any]:
    """Return the output of `credit explain`; amounts are micro-credits, digests hex, times Unix microseconds."""
    judged = judge_entry(stored)
    problems = [finding.text for finding in judged.findings]
    answer: dict[str, Any] = {"receipt": stored.digest.hex(), "problems": problems}
    body = judged.body
    if body is None:
        return answer
    counts = unexpired(body.share_microcredits, epoch - body.epoch, horizon_epochs) if judged.counts else 0
    roles = {body.requester: "requester", body.worker: "worker"}
    return {
        **answer,
        "state": "receipt" if judged.counts else "half-entry",
        "role": roles.get(me, ""),
        "requester": body.requester,
        "worker": body.worker,
        "tasks": [task.hex() for task in body.tasks],
        "skill": body.skill,
        "items": body.items,
        "service_us": body.service_us,
        "epoch": body.epoch,
        "began_us": body.epoch * EPOCH_US,
        "stored_us": stored.stored_us,
        "price_microcredits": body.price_microcredits,
        "share_microcredits": body.share_microcredits,
        "counts_microcredits": counts,
        "expires_us": (body.epoch + horizon_epochs) * EPOCH_US,
        "digests": {name: getattr(body, f"{name}_digest").hex() for name in ("game", "model", "input", "output")},
        "attribution": _attribution(body, game),
        "halves": [_place(half, beside, roles) for half, beside in places],
    }


def _attribution(body: ReceiptBody, text: bytes | None) -> dict[str, Any]:
    if is_sole(body):
        return {"game": None, "matches": body.share_microcredits == body.price_microcredits, "shares": {}}
    if text is None:
        return {"game": None, "matches": None, "shares": {}}
    made = recomputed(body.game_digest, text)
    if isinstance(made, str):
        return {"game": None, "matches": False, "problem": made, "shares": {}}
    content = read_json(text)
    answer = {
        "game": content["game"],
        "content": content,
        "rule": RULES[content["game"]],
        "method": made.method,
        "permutations": made.permutations,
        "shares": dict(made.shares),
        "matches": True,
    }
    problem = share_problem(body, made)
    return answer if problem is None else {**answer, "matches": False, "problem": problem}


def _place(half: Half, beside: Neighbours, roles: dict[str, str]) -> dict[str, Any]:
    content = half.content
    return {
        "signer": content.signer,
        "role": roles.get(content.signer, ""),
        "incarnation": content.incarnation,
        "number": content.number,
        "link": link_digest(content).hex(),
        "before": None if beside.before is None else beside.before.hex(),
        "after": None if beside.after is None else beside.after.hex(),
    }
