"""What is true of one whole node between two instants: its memory follows from its disk, and is bounded.

Every function yields what does not hold, as the number of the invariant and a text; none changes anything. They are
asked when nothing can run, so that no service is in the middle of something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swarmharness.credit.holds import Holds
from swarmharness.credit.ledger import Ledger, claim_of
from swarmharness.credit.payer import BACKLOG_MAX
from swarmharness.credit.retry import WAITING_MAX
from swarmharness.credit.spread.gaps import GAPS_MAX
from swarmharness.credit.terms import UNSETTLED_MAX
from swarmharness.credit.writer import QUEUE_MAX
from swarmharness.jobs.worker import ANSWER_BYTES_MAX, TASKS_PER_PEER_MAX
from swarmharness.routing.records import RECORDS_MAX

if TYPE_CHECKING:
    from swarmharness.credit.books import Books
    from swarmharness.credit.memory_store import MemoryReceiptStore
    from swarmharness.node.parts import NodeParts

PEERS_MAX = 512

Problem = tuple[str, str]


def zero_sum(books: Books) -> Iterator[Problem]:
    """C-5: in each observer's own view, all standings add up to zero."""
    total = sum(books.ledger.standings().values())
    if total:
        yield "C-5", f"the standings that it sees add up to {total} micro-credits"


def counted_again(books: Books, store: MemoryReceiptStore, *, ended: bool = False) -> Iterator[Problem]:
    """S-3: the ledger is what it would be made of after a restart: a function of the receipts in the store (C-6).

    When a node has `ended`, what it signed at the last moment is on its disk, and was not counted any more.
    """
    ledger = books.ledger
    again = Ledger(ledger.epoch, horizon_epochs=ledger.horizon_epochs)
    again.add_all(claim_of(entry.body) for entry in store._entries.values() if entry.complete)
    lacks = not ledger._claims.keys() <= again._claims.keys()
    if lacks or not (ended or ledger.standings() == again.standings()):
        yield "S-3", f"its ledger counts {len(ledger)} receipts and its store has {len(again)}, or they differ"
    unknown = set(store._forks) - books.banned - {books._me}
    if unknown and not ended:
        yield "S-3", f"its disk has proofs against {len(unknown)} peers that it does not ban"


def held_again(books: Books, store: MemoryReceiptStore, *, exactly: bool = False) -> Iterator[Problem]:
    """S-3, C-12: the disk has every promise before the work begins, and exactly these after a stop in order.

    While a promise is being written down, memory is ahead of the disk: then nothing is to be asked. A stop whose last
    writes the disk did not take in time leaves more promised than was taken, as a crash does.
    """
    held, kept = _amounts(books.holds), _amounts(store._holds)
    oldest = books.ledger.epoch - books.ledger.horizon_epochs
    for key, amount in held.items():
        on_disk = kept.get(key, 0)
        if amount > on_disk or (exactly and amount != on_disk):
            yield "S-3", f"it holds {amount} micro-credits for {key}, and on its disk are {on_disk}"
    if exactly and any(amount and key not in held for key, amount in kept.items() if key[1] > oldest):
        yield "S-3", "on its disk are holds that it does not know"


def _amounts(holds: Holds) -> dict[tuple[tuple[str, str], int], int]:
    return {(hold.key, hold.epoch): hold.microcredits for hold in holds}


def bounded(parts: NodeParts) -> Iterator[Problem]:
    """N-4: everything that a node keeps in memory has a limit."""
    credit, spread, tasks = parts.credit, parts.spread, parts.tasks
    payer, settings = credit._payer, spread.settings
    queues = [len(queue) for queue in spread._gossip._queues.values()]
    sizes = {
        "directory": (len(parts.registry._directory), PEERS_MAX),
        "memory of a directory": (len(parts.registry._directory._highest), 8 * PEERS_MAX),
        "router": (len(parts.router._records._records), RECORDS_MAX),
        "answers kept in bytes": (tasks._kept_bytes, ANSWER_BYTES_MAX),
        "tasks of one requester": (max(tasks._tasks_of.values(), default=0), TASKS_PER_PEER_MAX),
        "answered and unpaid tasks": (len(credit._payee._unsettled), UNSETTLED_MAX),
        "receipts to sign": (len(credit._writer._queue), QUEUE_MAX),
        "settlements to begin": (len(payer._backlog), BACKLOG_MAX),
        "settlements to try again": (len(payer._retries), WAITING_MAX),
        "reconciliations": (len(spread._busy), settings.sessions_at_once),
        "gaps to ask for": (len(spread._gaps._open), GAPS_MAX),
        "gossip for one peer": (max(queues, default=0), settings.queue_receipts_max),
    }
    for name, (size, most) in sizes.items():
        if size > most:
            yield "N-4", f"{name}: {size}, allowed are {most}"
