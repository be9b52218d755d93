"""Every SQL statement on receipts; blocking, it never touches trio."""

from __future__ import annotations

from collections.abc import Sequence

from swarmharness.credit.accounts import Balance, Entry, balance_of
from swarmharness.credit.forks import ForkProof, fork_proof
from swarmharness.credit.holds import Hold
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import Claim
from swarmharness.credit.receipt import Half, HalfContent, ReceiptBody, body_digest
from swarmharness.credit.sqlite_small_tables import SmallTables
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import decode, encode


class ReceiptFile(SmallTables):
    """The blocking half of `ReceiptStore`."""

    def commit(self, entries: Sequence[Entry], *, durable: bool = True) -> tuple[ForkProof, ...]:
        """See `store.ReceiptStore.commit` and, for `durable`, `commit_now`."""
        proofs: list[ForkProof] = []
        with self.transaction(durable=durable):
            for entry in entries:
                proofs += self._insert(entry)
        return tuple(proofs)

    def owner(self) -> PeerId | None:
        """Return the node that this database belongs to."""
        with self.translated():
            row = self.connection.execute("SELECT peer_id FROM owner").fetchone()
        return None if row is None else PeerId(row[0])

    def set_owner(self, peer_id: PeerId) -> None:
        """Remember the node that this database belongs to, for readers that have no key at hand."""
        if self.owner() != peer_id:
            with self.transaction():
                self.connection.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (peer_id,))

    def head(self, signer: PeerId) -> Half | None:
        """See `store.ReceiptStore.head`."""
        rows = self._halves("signer = ? ORDER BY incarnation DESC, number DESC LIMIT 1", signer, table="halves")
        return rows[0] if rows else None

    def entry(self, digest: bytes) -> Entry | None:
        """See `store.ReceiptStore.entry`."""
        found = self._entries("digest = ?", digest)
        return found[0] if found else None

    def unfinished(self, requester: PeerId, stored_after_us: int, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.unfinished`."""
        signed = "EXISTS (SELECT 1 FROM all_halves AS h WHERE h.digest = entries.digest AND h.signer = requester)"
        condition = f"requester = ? AND complete = 0 AND stored_us > ? AND {signed} ORDER BY id DESC LIMIT ?"
        return self._entries(condition, requester, stored_after_us, limit)

    def balance(self, peer_id: PeerId) -> Balance:
        """See `store.ReceiptStore.balance`."""
        sums = "SELECT requester, worker, sum(share_microcredits), count(*), complete FROM entries"
        with self.translated():
            rows = [
                *self.connection.execute(f"{sums} WHERE requester = ? GROUP BY complete, worker", (peer_id,)),
                *self.connection.execute(f"{sums} WHERE worker = ? GROUP BY complete, requester", (peer_id,)),
            ]
        flows = [(requester, worker, total, count) for requester, worker, total, count, complete in rows if complete]
        return balance_of(peer_id, flows, sum(row[3] for row in rows if not row[4]))

    def history(self, peer_id: PeerId, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.history`."""
        return self._entries("requester = ?1 OR worker = ?1 ORDER BY id DESC LIMIT ?2", peer_id, limit)

    def claims(self, oldest_epoch: int) -> list[Claim]:
        """See `store.ReceiptStore.claims`."""
        columns = "digest, requester, worker, epoch, share_microcredits"
        statement = f"SELECT {columns} FROM entries WHERE complete = 1 AND epoch >= ? ORDER BY epoch"
        with self.translated():
            return [Claim(*row) for row in self.connection.execute(statement, (oldest_epoch,))]

    def claims_page(self, oldest_epoch: int, after: int, limit: int) -> tuple[list[Claim], int]:
        """See `store.ReceiptStore.claims_page`."""
        columns = "digest, requester, worker, epoch, share_microcredits, id"
        statement = f"SELECT {columns} FROM entries WHERE complete = 1 AND epoch >= ? AND id > ? ORDER BY id LIMIT ?"
        with self.translated():
            rows = self.connection.execute(statement, (oldest_epoch, after, limit)).fetchall()
        return [Claim(*row[:5]) for row in rows], rows[-1][5] if rows else after

    def sightings(self, oldest_epoch: int, newest_epoch: int) -> list[Sighting]:
        """See `store.ReceiptStore.sightings`."""
        joined = "all_halves JOIN entries USING (digest) WHERE complete = 1 AND epoch BETWEEN ? AND ?"
        statement = f"SELECT signer, incarnation, max(epoch) FROM {joined} GROUP BY signer, incarnation"
        with self.translated():
            return [Sighting(*row) for row in self.connection.execute(statement, (oldest_epoch, newest_epoch))]

    def forks(self) -> list[ForkProof]:
        """See `store.ReceiptStore.forks`."""
        with self.translated():
            rows = self.connection.execute("SELECT proof FROM forks ORDER BY signer").fetchall()
        return [decode(ForkProof, proof) for (proof,) in rows]

    def keep_fork(self, proof: ForkProof) -> bool:
        """See `store.ReceiptStore.keep_fork`."""
        with self.transaction():
            return self._keep_fork(proof)

    def holds(self, oldest_epoch: int) -> list[Hold]:
        """See `store.ReceiptStore.holds`."""
        statement = "SELECT worker, requester, epoch, microcredits FROM holds WHERE epoch >= ?"
        with self.translated():
            rows = self.connection.execute(statement, (oldest_epoch,)).fetchall()
        return [Hold((worker, requester), epoch, amount) for worker, requester, epoch, amount in rows]

    def keep_holds(self, holds: Sequence[Hold]) -> None:
        """See `store.ReceiptStore.keep_holds`."""
        statement = (
            "INSERT INTO holds VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET microcredits = microcredits + excluded.microcredits"
        )
        with self.transaction():
            self.connection.executemany(statement, [(*hold.key, hold.epoch, hold.microcredits) for hold in holds])

    def prune(self, own: PeerId, oldest_epoch: int, limit: int) -> int:
        """See `store.ReceiptStore.prune`."""
        old = "SELECT digest FROM entries WHERE epoch < ? AND requester <> ? AND worker <> ? LIMIT ?"
        with self.transaction():
            for table in ("holds", "games"):
                self.connection.execute(f"DELETE FROM {table} WHERE epoch < ?", (oldest_epoch,))
            digests = self.connection.execute(old, (oldest_epoch, own, own, limit)).fetchall()
            for table in ("halves", "conflicting_halves", "entries"):
                self.connection.executemany(f"DELETE FROM {table} WHERE digest = ?", digests)
        return len(digests)

    def _insert(self, entry: Entry) -> list[ForkProof]:
        body = entry.body
        halves = [half for half in (entry.requester_half, entry.worker_half) if half is not None]
        digest = halves[0].content.body_digest if halves else body_digest(body)
        self.connection.execute(
            "INSERT INTO entries (digest, requester, worker, epoch, share_microcredits, complete, stored_us, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET complete = 1 WHERE excluded.complete AND NOT complete",
            (
                *(digest, body.requester, body.worker, body.epoch, body.share_microcredits),
                *(len(halves) == 2, entry.stored_us, encode(body)),
            ),
        )
        proofs = [proof for half in halves for proof in self._insert_half(half)]
        if len(halves) < 2:
            self.connection.execute(
                "UPDATE entries SET complete = 1 WHERE digest = ?1 AND NOT complete"
                " AND 2 = (SELECT count(DISTINCT signer) FROM all_halves AS h WHERE h.digest = ?1)",
                (digest,),
            )
        return proofs

    def _insert_half(self, half: Half) -> list[ForkProof]:
        content = half.content
        place = (content.signer, content.incarnation, content.number)
        row = (*place, content.body_digest, content.previous, half.signature)
        inserted = self.connection.execute("INSERT INTO halves VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        if inserted.rowcount:
            return []
        known = self._halves("signer = ? AND incarnation = ? AND number = ?", *place)
        proof = fork_proof(known[0], half)
        if proof is None or any(other.content == content for other in known):
            return []  # the same again
        self.connection.execute("INSERT INTO conflicting_halves VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        return [proof] if self._keep_fork(proof) else []

    def _keep_fork(self, proof: ForkProof) -> bool:
        statement = "INSERT INTO forks VALUES (?, ?) ON CONFLICT DO NOTHING"
        return self.connection.execute(statement, (proof.signer, encode(proof))).rowcount == 1

    def _entries(self, condition: str, *values: object) -> list[Entry]:
        with self.translated():
            rows = self.connection.execute(
                f"SELECT digest, body, stored_us FROM entries WHERE {condition}", values
            ).fetchall()
        entries = []
        for digest, body_bytes, stored_us in rows:
            body = decode(ReceiptBody, body_bytes)
            halves = self._halves("digest = ? ORDER BY incarnation DESC, number DESC", digest)
            by_signer = {half.content.signer: half for half in halves}
            entries.append(Entry(body, by_signer.get(body.requester), by_signer.get(body.worker), stored_us))
        return entries

    def _halves(self, condition: str, *values: object, table: str = "all_halves") -> list[Half]:
        columns = "digest, signer, incarnation, number, previous, signature"
        with self.translated():
            rows = self.connection.execute(f"SELECT {columns} FROM {table} WHERE {condition}", values).fetchall()
        return [Half(HalfContent(*row[:5]), row[5]) for row in rows]

    # --- what the spreading of receipts asks

    def entries(self, digests: Sequence[bytes]) -> list[Entry]:
        """See `store.ReceiptStore.entries`."""
        return [entry for digest in digests for entry in self._entries("digest = ?", digest)]

    def heads(self, signers: Sequence[str]) -> list[Half]:
        """See `store.ReceiptStore.heads`."""
        found = [self.head(PeerId(signer)) for signer in signers]
        return [half for half in found if half is not None]

    def entries_after(self, signer: str, incarnation: int, number: int, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.entries_after`."""
        statement = (
            "SELECT halves.digest FROM halves JOIN entries USING (digest) WHERE signer = ? AND"
            " (incarnation, number) > (?, ?) AND complete = 1 ORDER BY incarnation, number LIMIT ?"
        )
        with self.translated():
            rows = self.connection.execute(statement, (signer, incarnation, number, limit)).fetchall()
        return self.entries([digest for (digest,) in rows])

    def known_below(self, places: Sequence[tuple[str, int, int]]) -> list[int]:
        """See `store.ReceiptStore.known_below`."""
        statement = "SELECT coalesce(max(number), -1) FROM halves WHERE signer = ? AND incarnation = ? AND number < ?"
        with self.translated():
            return [self.connection.execute(statement, place).fetchone()[0] for place in places]

    def partners(self, peer_id: PeerId, limit: int) -> list[PeerId]:
        """See `store.ReceiptStore.partners`."""
        newest = "SELECT max(id) AS newest, {} AS peer FROM entries WHERE {} = ? GROUP BY peer"
        both = f"{newest.format('worker', 'requester')} UNION ALL {newest.format('requester', 'worker')}"
        statement = f"SELECT peer FROM ({both}) GROUP BY peer ORDER BY max(newest) DESC LIMIT ?"
        with self.translated():
            return [PeerId(peer) for (peer,) in self.connection.execute(statement, (peer_id, peer_id, limit))]
