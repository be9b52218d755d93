"""Audits a receipt database, whether its node runs or not: joins the reader of everything with the judge of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmharness.allowance import usable_cores
from swarmharness.credit.audit import (
    FINDINGS_KEPT,
    Chains,
    EpochBooks,
    Finding,
    Games,
    Judged,
    Kind,
    StoredEntry,
    judge_entry,
    judge_proof,
    stray_half,
)
from swarmharness.credit.sqlite_scan import ReceiptScan

_THREADS_MAX = 8
_PART = 32

Progress = Callable[[int, int], None]
"""Called with the entries done and the entries in all."""


@dataclass(slots=True)
class AuditReport:
    """What an audit looked at, and what it found: the first problems in full, everything by number."""

    peer_id: str = ""
    receipts: int = 0
    half_entries: int = 0
    halves: int = 0
    chains: int = 0
    epochs: int = 0
    games_recomputed: int = 0
    games_unknown: int = 0
    forkers: set[str] = field(default_factory=set)
    """Who is proved to have forked, by receipts here or by proofs from elsewhere."""
    found: Counter[Kind] = field(default_factory=Counter)
    problems: list[Finding] = field(default_factory=list)
    gaps: list[Finding] = field(default_factory=list)

    @property
    def problems_total(self) -> int:
        """How many problems there are, listed or not; a store with none is clean."""
        return sum(count for kind, count in self.found.items() if kind.is_problem)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings into account."""
        for finding in findings:
            self.found[finding.kind] += 1
            kept = self.problems if finding.kind.is_problem else self.gaps
            if len(kept) < FINDINGS_KEPT:
                kept.append(finding)
            if finding.kind is Kind.FORK:
                self.forkers.add(finding.peer_id)

    def as_dict(self) -> dict[str, Any]:
        """Return the output of `credit audit --json`, but for the time."""
        return {
            "peer_id": self.peer_id,
            "clean": not self.problems_total,
            "receipts": self.receipts,
            "half_entries": self.half_entries,
            "halves": self.halves,
            "chains": self.chains,
            "epochs": self.epochs,
            "games_recomputed": self.games_recomputed,
            "games_unknown": self.games_unknown,
            "forkers": sorted(self.forkers),
            "found": {kind.value: count for kind, count in sorted(self.found.items())},
            "problems": [finding.as_dict() for finding in self.problems],
            "gaps": [finding.as_dict() for finding in self.gaps],
        }


def audit(database: Path, progress: Progress = lambda done, total: None) -> AuditReport:
    """Check everything in a database, as it is at this moment; raises InputError if its file is damaged."""
    scan = ReceiptScan(database, read_only=True)
    try:
        with scan.snapshot():
            return _audit(scan, progress)
    finally:
        scan.close()


def _audit(scan: ReceiptScan, progress: Progress) -> AuditReport:
    report = AuditReport(peer_id=scan.owner() or "")
    total, done, books = scan.count(), 0, EpochBooks()
    games = Games(scan.game_text)
    # Checking a signature lets other threads run, and is most of the work.
    with ThreadPoolExecutor(min(_THREADS_MAX, usable_cores())) as pool:
        for entries in scan.stored_entries():
            parts = [entries[start : start + _PART] for start in range(0, len(entries), _PART)]
            judged = [one for part in pool.map(_judge_all, parts) for one in part]
            for stored, one in zip(entries, judged, strict=True):
                _take(stored, one, report, books, games)
            done += len(entries)
            progress(done, total)
    report.add(books.close())
    chains = Chains()
    for half in scan.chained_halves():
        report.halves += 1
        report.add(chains.follow(half))
    report.add(map(stray_half, scan.stray_halves()))
    for proof in scan.forks():
        wrong = judge_proof(proof)
        report.add([wrong] if wrong else [])
        if wrong is None:
            report.forkers.add(proof.signer)
    report.chains, report.epochs = chains.chains, books.epochs
    report.games_recomputed, report.games_unknown = games.known, games.unknown
    return report


def _judge_all(part: list[StoredEntry]) -> list[Judged]:
    return [judge_entry(stored) for stored in part]


def _take(stored: StoredEntry, judged: Judged, report: AuditReport, books: EpochBooks, games: Games) -> None:
    report.add(judged.findings)
    report.add(books.add(stored, judged))
    if stored.complete:
        report.receipts += 1
    else:
        report.half_entries += 1
    if judged.counts and judged.body is not None:
        wrong = games.judge(judged.body)
        report.add([wrong] if wrong else [])
