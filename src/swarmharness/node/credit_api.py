"""What a running node answers to its own user about credit; it decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from swarmharness.credit.accounts import history_answer
from swarmharness.credit.admission import Doubts
from swarmharness.credit.archive import Entries, Games, Proofs
from swarmharness.credit.importing import Importer
from swarmharness.credit.receipt import Receipt
from swarmharness.credit.standing import peer_credit, standing_of
from swarmharness.errors import InputError
from swarmharness.identity import parse_peer_id
from swarmharness.node.call_params import param
from swarmharness.node.parts import NodeParts
from swarmharness.protocol.codec import decode

HISTORY_LIMIT_MAX = 10_000


class CreditApi:
    """The control methods `credit.*`."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._importer = Importer(
            parts.ports.receipts,
            parts.ports.transport.peer_id,
            parts.ports.clock,
            running=True,
            on_receipts=self._imported,
            on_proof=parts.spread.found_fork,
        )
        self.methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "credit.balance": self._balance,
            "credit.history": self._history,
            "credit.import": self._import,
        }

    async def _balance(self, params: Mapping[str, Any]) -> dict[str, Any]:
        parts, books = self._parts, self._parts.credit.books
        me = parts.ports.transport.peer_id
        books.look()
        ledger = books.ledger
        standing = standing_of(me, ledger.claims(), ledger.epoch, ledger.horizon_epochs)
        answer = {**(await parts.credit.balance()).as_dict(), "standing": standing.as_dict(), "peer": None}
        if "peer" not in params:
            return answer
        peer = parse_peer_id(param(params, "peer", str))
        withholding = frozenset({peer}) if parts.credit.withholds(peer) else frozenset[str]()
        doubts = Doubts(frozenset(books.banned), books.renewed, withholding)
        shown = peer_credit(ledger, books.holds, parts.credit.policy, doubts, me=me, peer=peer)
        return {**answer, "peer": shown.as_dict()}

    async def _history(self, params: Mapping[str, Any]) -> dict[str, Any]:
        limit = min(max(param(params, "limit", int, 20), 1), HISTORY_LIMIT_MAX)
        return history_answer(await self._parts.credit.history(limit))

    async def _import(self, params: Mapping[str, Any]) -> dict[str, Any]:
        kind, block = param(params, "kind", str), param(params, "block", bytes)
        if kind == "entries":
            done = await self._importer.take(decode(Entries, block).entries)
        elif kind == "proofs":
            done = await self._importer.take_proofs(decode(Proofs, block).proofs)
        elif kind == "games":
            done = await self._importer.take_games(decode(Games, block).games)
        else:
            raise InputError(
                f"credit.import: this node knows no blocks of kind {kind!r}; is it older than the command?"
            )
        return done.as_dict()

    def _imported(self, receipts: Sequence[Receipt]) -> None:
        self._parts.credit.received(receipts)
        self._parts.spread.add_imported(receipts)
