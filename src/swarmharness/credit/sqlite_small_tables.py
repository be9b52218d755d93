"""Every SQL statement on what a node remembers besides receipts: unsettled tasks, games, invites, seals; blocking."""

from __future__ import annotations

from collections.abc import Sequence

from swarmharness.credit.chain import Floor
from swarmharness.credit.sqlite_connection import Database
from swarmharness.credit.store import Game, Invited
from swarmharness.credit.terms import TaskTerms, UnsettledTask
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import decode, encode


class SmallTables(Database):
    """The tables with one row for each thing that is remembered."""

    moved = False
    """See `store.ReceiptStore.moved`; set by `settle_in`."""
    interrupted = False
    """See `store.ReceiptStore.interrupted`; set by `settle_in`."""

    def settle_in(self, boot: str) -> None:
        """Find out whether this is still the file of the last start, how that ended, and remember what is now.

        `boot` names the time since the machine was started.
        """
        inode = self.path.stat().st_ino
        with self.transaction():
            known = self.connection.execute("SELECT inode FROM file").fetchone()
            self.connection.execute("INSERT OR REPLACE INTO file VALUES (1, ?)", (inode,))
            opened = self.connection.execute("SELECT boot FROM opened").fetchone()
            self.moved = known is not None and known[0] != inode
            self.interrupted = self.moved or (opened is not None and opened[0] != boot)
            # Unknown until a floor is set, so that a second stop before that does not hide the first.
            self.connection.execute("INSERT OR REPLACE INTO opened VALUES (1, ?)", ("" if self.interrupted else boot,))
        self._boot = boot

    def settle_out(self) -> None:
        """Remember that the database was closed in order."""
        with self.transaction():
            self.connection.execute("DELETE FROM opened WHERE boot <> ''")

    def set_floor(self, floor: Floor) -> None:
        """See `store.ReceiptStore.set_floor`."""
        with self.transaction():
            self.connection.execute("INSERT OR REPLACE INTO floor VALUES (1, ?, ?)", (floor.incarnation, floor.number))
            self.connection.execute("INSERT OR REPLACE INTO opened VALUES (1, ?)", (self._boot,))
        self.interrupted = False

    def floor(self) -> Floor | None:
        """See `store.ReceiptStore.floor`."""
        with self.translated():
            row = self.connection.execute("SELECT incarnation, number FROM floor").fetchone()
        return None if row is None else Floor(*row)

    def unsettled(self) -> list[UnsettledTask]:
        """See `store.ReceiptStore.unsettled`."""
        with self.translated():
            rows = self.connection.execute("SELECT terms, answered_us FROM unsettled ORDER BY answered_us").fetchall()
        return [UnsettledTask(decode(TaskTerms, terms), answered_us) for terms, answered_us in rows]

    def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        """See `store.ReceiptStore.keep_unsettled`."""
        rows = [(*one.key, one.answered_us, encode(one.terms)) for one in new]
        with self.transaction():
            self.connection.executemany("INSERT OR REPLACE INTO unsettled VALUES (?, ?, ?, ?)", rows)
            gone = [one.key for one in settled]
            self.connection.executemany("DELETE FROM unsettled WHERE requester = ? AND task = ?", gone)

    def games(self, digests: Sequence[bytes]) -> list[Game]:
        """See `store.ReceiptStore.games`."""
        statement = "SELECT digest, epoch, game FROM games WHERE digest = ?"
        with self.translated():
            rows = [row for digest in digests for row in self.connection.execute(statement, (digest,))]
        return [Game(*row) for row in rows]

    def keep_games(self, games: Sequence[Game]) -> None:
        """See `store.ReceiptStore.keep_games`."""
        statement = "INSERT INTO games VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET epoch = max(epoch, excluded.epoch)"
        with self.transaction():
            self.connection.executemany(statement, [(game.digest, game.epoch, game.text) for game in games])

    def invited(self) -> list[Invited]:
        """See `store.ReceiptStore.invited`."""
        with self.translated():
            rows = self.connection.execute("SELECT token, peer_id, microcredits FROM invited").fetchall()
        return [Invited(token, PeerId(peer), microcredits) for token, peer, microcredits in rows]

    def keep_invited(self, invited: Invited) -> None:
        """See `store.ReceiptStore.keep_invited`."""
        row = (invited.token, invited.peer_id, invited.microcredits)
        with self.transaction():
            self.connection.execute("INSERT INTO invited VALUES (?, ?, ?)", row)

    def seal(self, incarnation: int) -> None:
        """See `store.ReceiptStore.seal`."""
        statement = (
            "INSERT INTO sealed VALUES (1, ?)"
            " ON CONFLICT DO UPDATE SET incarnation = max(incarnation, excluded.incarnation)"
        )
        with self.transaction():
            self.connection.execute(statement, (incarnation,))

    def try_write(self) -> None:
        """See `store.ReceiptStore.try_write`."""
        with self.transaction():
            self.connection.execute("UPDATE opened SET boot = boot")

    def sealed(self) -> int:
        """See `store.ReceiptStore.sealed`."""
        with self.translated():
            row = self.connection.execute("SELECT incarnation FROM sealed").fetchone()
        return -1 if row is None else int(row[0])
