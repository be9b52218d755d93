"""Answers people's questions from a receipt database, whether its node runs or not; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarmharness.credit.accounts import Entry, balance_of, history_answer, history_of
from swarmharness.credit.admission import Doubts, Policy
from swarmharness.credit.explaining import explain
from swarmharness.credit.holds import Holds
from swarmharness.credit.incarnations import renewed_peers
from swarmharness.credit.ledger import HORIZON_EPOCHS, Ledger
from swarmharness.credit.receipt import EPOCH_SKEW_MAX
from swarmharness.credit.sqlite_export import entry_of
from swarmharness.credit.sqlite_scan import ReceiptScan
from swarmharness.credit.standing import peer_credit, standing_of, standings
from swarmharness.errors import InputError
from swarmharness.identity import PeerId

DIGITS_MIN = 4
_CANDIDATES_SHOWN = 8


def balance(database: Path, policy: Policy, *, epoch: int, peer: PeerId | None = None) -> dict[str, Any]:
    """Return the same as the control method `credit.balance`."""
    with _opened(database) as scan:
        me = scan.owner() or PeerId("")
        whole = scan.balance(me) if me else balance_of(me, (), 0)
        ledger = _ledger(scan, epoch, policy.horizon_epochs)
        standing = standing_of(me, ledger.claims(), epoch, policy.horizon_epochs)
        answer = {**whole.as_dict(), "standing": standing.as_dict(), "peer": None}
        if peer is None:
            return answer
        holds = Holds(policy.horizon_epochs)
        holds.add(scan.holds(max(0, epoch - policy.horizon_epochs + 1)))
        policy = replace(policy, lines={**_invited_lines(scan), **policy.lines})
        shown = peer_credit(ledger, holds, policy, _doubts(scan, epoch, policy), me=me, peer=peer)
        return {**answer, "peer": shown.as_dict()}


def history(database: Path, limit: int, peer: str | None = None) -> dict[str, Any]:
    """Return the same as the control method `credit.history`."""
    with _opened(database) as scan:
        me = scan.owner()
        if me is None:
            return history_answer(())
        entries = scan.history(me, limit) if peer is None else _between(scan, me, peer, limit)
        return history_answer(history_of(me, entries))


def top(database: Path, *, epoch: int, horizon_epochs: int = HORIZON_EPOCHS, limit: int) -> dict[str, Any]:
    """Return the peers with the highest standings that this store knows of (C-14)."""
    with _opened(database) as scan:
        forkers = {proof.signer for proof in scan.forks()}
        found = standings(scan.claims(max(0, epoch - horizon_epochs + 1)), epoch, horizon_epochs)
        shown = [{**one.as_dict(), "banned": one.peer_id in forkers} for one in found[:limit]]
        return {"peer_id": scan.owner() or "", "peers_known": len(found), "peers": shown}


def explained(database: Path, beginning: str, *, epoch: int, horizon_epochs: int = HORIZON_EPOCHS) -> dict[str, Any]:
    """Return what is known of the receipt whose digest, or one of whose tasks, begins so; raises InputError."""
    digits = beginning.strip().lower()
    if not DIGITS_MIN <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise InputError(f"{beginning!r} is no receipt or task: give {DIGITS_MIN} to 64 of its hexadecimal digits")
    with _opened(database) as scan:
        found = scan.find(digits, _CANDIDATES_SHOWN + 1)
        if not found:
            raise InputError(f"no receipt or task here begins with {digits} (a task: give at least 8 digits)")
        if len(found) > 1:
            names = ", ".join(stored.digest.hex()[:16] for stored in found[:_CANDIDATES_SHOWN])
            raise InputError(f"several receipts fit {digits}: {names}{' …' if len(found) > _CANDIDATES_SHOWN else ''}")
        (stored,) = found
        entry = entry_of(stored)
        game = scan.game_text(entry.body.game_digest) if entry else None
        places = [(half, scan.neighbours(half)) for half in stored.halves]
        me = scan.owner() or ""
        return explain(stored, game, places, me=me, epoch=epoch, horizon_epochs=horizon_epochs)


def _between(scan: ReceiptScan, me: str, peer: str, limit: int) -> list[Entry]:
    entries = (entry_of(stored) for stored in scan.between(me, peer, limit))
    return [entry for entry in entries if entry is not None]


def _ledger(scan: ReceiptScan, epoch: int, horizon_epochs: int) -> Ledger:
    ledger = Ledger(epoch, horizon_epochs=horizon_epochs)
    ledger.add_all(scan.claims(max(0, epoch - horizon_epochs + 1)))
    return ledger


def _doubts(scan: ReceiptScan, epoch: int, policy: Policy) -> Doubts:
    oldest = max(0, epoch - policy.horizon_epochs + 1)
    sightings = scan.sightings(oldest, epoch + EPOCH_SKEW_MAX)
    renewed = renewed_peers(sightings, epoch, horizon_epochs=policy.horizon_epochs)
    return Doubts(frozenset(proof.signer for proof in scan.forks()), renewed)


def _invited_lines(scan: ReceiptScan) -> dict[PeerId, int]:
    lines: dict[PeerId, int] = {}
    for one in scan.invited() if scan.has_table("invited") else ():
        lines[one.peer_id] = lines.get(one.peer_id, 0) + one.microcredits
    return lines


@contextmanager
def _opened(database: Path) -> Iterator[ReceiptScan]:
    scan = ReceiptScan(database, read_only=True)
    try:
        with scan.snapshot():
            yield scan
    finally:
        scan.close()
