"""The receipt database itself: schema, migrations and every SQL statement; blocking, it never touches trio."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from swarmharness.credit.accounts import Balance, Entry, balance_of
from swarmharness.credit.forks import ForkProof, fork_proof
from swarmharness.credit.holds import Hold
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import Claim
from swarmharness.credit.receipt import Half, HalfContent, ReceiptBody, body_digest, link_digest
from swarmharness.credit.sqlite_schema import MIGRATIONS
from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import decode, encode

BUSY_TIMEOUT_MS = 5_000


class ReceiptFile:
    """One connection to `credit.db`; used by one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the database, creating or migrating it unless `read_only`.

        Raises InputError when the file is damaged, ConfigurationError when a newer version wrote it,
        UnavailableError when it cannot be opened.
        """
        self.path = path
        with self._translated():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                self._check()
                if not read_only:
                    self._migrate()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection; the last one to close also empties the write-ahead log."""
        self._db.close()

    def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `store.ReceiptStore.commit`."""
        proofs: list[ForkProof] = []
        with self._transaction():
            for entry in entries:
                proofs += self._insert(entry)
        return tuple(proofs)

    def owner(self) -> PeerId | None:
        """Return the node that this database belongs to."""
        with self._translated():
            row = self._db.execute("SELECT peer_id FROM owner").fetchone()
        return None if row is None else PeerId(row[0])

    def set_owner(self, peer_id: PeerId) -> None:
        """Remember the node that this database belongs to, for readers that have no key at hand."""
        if self.owner() != peer_id:
            with self._transaction():
                self._db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (peer_id,))

    def head(self, signer: PeerId) -> Half | None:
        """See `store.ReceiptStore.head`."""
        rows = self._halves("signer = ? ORDER BY incarnation DESC, number DESC LIMIT 1", signer)
        return rows[0] if rows else None

    def entry(self, digest: bytes) -> Entry | None:
        """See `store.ReceiptStore.entry`."""
        found = self._entries("digest = ?", digest)
        return found[0] if found else None

    def unfinished(self, requester: PeerId, stored_after_us: int, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.unfinished`."""
        signed = "EXISTS (SELECT 1 FROM halves WHERE halves.digest = entries.digest AND signer = requester)"
        condition = f"requester = ? AND complete = 0 AND stored_us > ? AND {signed} ORDER BY id DESC LIMIT ?"
        return self._entries(condition, requester, stored_after_us, limit)

    def balance(self, peer_id: PeerId) -> Balance:
        """See `store.ReceiptStore.balance`."""
        sums = "SELECT requester, worker, sum(share_microcredits), count(*), complete FROM entries"
        with self._translated():
            rows = [
                *self._db.execute(f"{sums} WHERE requester = ? GROUP BY complete, worker", (peer_id,)),
                *self._db.execute(f"{sums} WHERE worker = ? GROUP BY complete, requester", (peer_id,)),
            ]
        flows = [(requester, worker, total, count) for requester, worker, total, count, complete in rows if complete]
        return balance_of(peer_id, flows, sum(row[3] for row in rows if not row[4]))

    def history(self, peer_id: PeerId, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.history`."""
        return self._entries("requester = ?1 OR worker = ?1 ORDER BY id DESC LIMIT ?2", peer_id, limit)

    def claims(self, oldest_epoch: int) -> list[Claim]:
        """See `store.ReceiptStore.claims`."""
        columns = "digest, requester, worker, epoch, share_microcredits"
        condition = "complete = 1 AND epoch >= ? ORDER BY epoch"
        with self._translated():
            return [
                Claim(*row)
                for row in self._db.execute(f"SELECT {columns} FROM entries WHERE {condition}", (oldest_epoch,))
            ]

    def sightings(self, oldest_epoch: int, newest_epoch: int) -> list[Sighting]:
        """See `store.ReceiptStore.sightings`."""
        joined = "halves JOIN entries USING (digest) WHERE complete = 1 AND epoch BETWEEN ? AND ?"
        statement = f"SELECT signer, incarnation, max(epoch) FROM {joined} GROUP BY signer, incarnation"
        with self._translated():
            return [Sighting(*row) for row in self._db.execute(statement, (oldest_epoch, newest_epoch))]

    def forks(self) -> list[ForkProof]:
        """See `store.ReceiptStore.forks`."""
        with self._translated():
            rows = self._db.execute("SELECT proof FROM forks ORDER BY signer").fetchall()
        return [decode(ForkProof, proof) for (proof,) in rows]

    def keep_fork(self, proof: ForkProof) -> bool:
        """See `store.ReceiptStore.keep_fork`."""
        with self._transaction():
            return self._keep_fork(proof)

    def holds(self, oldest_epoch: int) -> list[Hold]:
        """See `store.ReceiptStore.holds`."""
        statement = "SELECT worker, requester, epoch, microcredits FROM holds WHERE epoch >= ?"
        with self._translated():
            rows = self._db.execute(statement, (oldest_epoch,)).fetchall()
        return [Hold((worker, requester), epoch, amount) for worker, requester, epoch, amount in rows]

    def keep_holds(self, holds: Sequence[Hold]) -> None:
        """See `store.ReceiptStore.keep_holds`."""
        statement = (
            "INSERT INTO holds VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET microcredits = microcredits + excluded.microcredits"
        )
        with self._transaction():
            self._db.executemany(statement, [(*hold.key, hold.epoch, hold.microcredits) for hold in holds])

    def prune(self, own: PeerId, oldest_epoch: int) -> int:
        """See `store.ReceiptStore.prune`."""
        old = "epoch < ?1 AND requester <> ?2 AND worker <> ?2"
        with self._transaction():
            self._db.execute(
                f"DELETE FROM halves WHERE digest IN (SELECT digest FROM entries WHERE {old})", (oldest_epoch, own)
            )
            self._db.execute("DELETE FROM holds WHERE epoch < ?", (oldest_epoch,))
            return self._db.execute(f"DELETE FROM entries WHERE {old}", (oldest_epoch, own)).rowcount

    def _insert(self, entry: Entry) -> list[ForkProof]:
        body = entry.body
        digest = body_digest(body)
        self._db.execute(
            "INSERT INTO entries (digest, requester, worker, epoch, share_microcredits, stored_us, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (digest, body.requester, body.worker, body.epoch, body.share_microcredits, entry.stored_us, encode(body)),
        )
        proofs = []
        for half in filter(None, (entry.requester_half, entry.worker_half)):
            content = half.content
            place = (content.signer, content.incarnation, content.number)
            for known in self._halves("signer = ? AND incarnation = ? AND number = ?", *place):
                proof = fork_proof(known, half)
                if proof is not None and self._keep_fork(proof):
                    proofs.append(proof)
            self._db.execute(
                "INSERT INTO halves VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(*place, link_digest(content)),
                    *(content.body_digest, content.previous, half.signature),
                ),
            )
        self._db.execute(
            "UPDATE entries SET complete = 1 WHERE digest = ?1 AND NOT complete"
            " AND 2 = (SELECT count(DISTINCT signer) FROM halves WHERE halves.digest = ?1)",
            (digest,),
        )
        return proofs

    def _keep_fork(self, proof: ForkProof) -> bool:
        statement = "INSERT INTO forks VALUES (?, ?) ON CONFLICT DO NOTHING"
        return self._db.execute(statement, (proof.signer, encode(proof))).rowcount == 1

    def _entries(self, condition: str, *values: object) -> list[Entry]:
        with self._translated():
            rows = self._db.execute(f"SELECT digest, body, stored_us FROM entries WHERE {condition}", values).fetchall()
        entries = []
        for digest, body_bytes, stored_us in rows:
            body = decode(ReceiptBody, body_bytes)
            halves = self._halves("digest = ? ORDER BY incarnation DESC, number DESC", digest)
            by_signer = {half.content.signer: half for half in halves}
            entries.append(Entry(body, by_signer.get(body.requester), by_signer.get(body.worker), stored_us))
        return entries

    def _halves(self, condition: str, *values: object) -> list[Half]:
        columns = "digest, signer, incarnation, number, previous, signature"
        with self._translated():
            rows = self._db.execute(f"SELECT {columns} FROM halves WHERE {condition}", values).fetchall()
        return [Half(HalfContent(*row[:5]), row[5]) for row in rows]

    def _check(self) -> None:
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)

    def _migrate(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)")
        version = self._db.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                f"{self.path} was written by a newer SwarmHarness (its version is {version}, this one knows"
                f" {len(MIGRATIONS)}): update SwarmHarness, or use another --data-dir"
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            with self._transaction():
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute("INSERT INTO migrations VALUES (?)", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # our own mistake
        except sqlite3.DatabaseError as error:
            raise _swarm_error(self.path, error) from error


def _swarm_error(path: Path, error: sqlite3.DatabaseError) -> SwarmError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return UnavailableError(f"the disk of {path} is full: free some space; no receipt was lost")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(f"the receipt database {path} is damaged ({error}): restart the node, which sets it aside")
    return UnavailableError(f"the receipt database {path} cannot be used now ({error}): check its disk and permissions")
