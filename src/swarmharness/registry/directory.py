"""What this node knows of others: adverts by peer and by skill, who is due for a refresh, who is gone; no I/O.

Time is an argument, in monotonic microseconds: an advert's own dates count when it comes, and from then on what it has
left. An advert that a third node relays tells where to ask; only a node's own answer makes it a candidate.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace

from swarmharness.errors import RefusedError
from swarmharness.registry.advert import Advert, SequenceError, SignedAdvert, changed_materially
from swarmharness.registry.entry import Absence, Entry, Learned

RETRY_FIRST_US = 1_000_000
SKILLS_IN_USE_MAX = 256
USED_FOR_REFRESHES = 10
"""A skill counts as in use for so many refresh periods after somebody asked for it."""
EVICT_AFTER_REFRESHES = 3
CALM_MOST = 32
"""A node is asked at least once in so many refresh periods."""
ASKED_A_PERIOD = 1
"""About so many nodes are asked in a refresh period, however many are known, as far as `CALM_MOST` allows: whoever
was asked tells of changes by itself, as long as its channel lives."""


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """The limits of a directory."""

    refresh_us: int = 60_000_000
    peers_per_skill_max: int = 128
    peers_max: int = 512
    enough: int = 24
    """So many usable nodes give a router all the choice it needs: more are welcome, but none is sought."""


@dataclass(slots=True)
class Directory:
    """The state, changed only by `use`, `learn`, `failed` and `evict`."""

    settings: DirectorySettings = field(default_factory=DirectorySettings)
    calm: int = 1
    """By what factor each node is asked less often, because so many are known; as of the last `evict`."""
    nobody_before_us: int = 0
    """Until then nobody is due, unless something happens."""
    _entries: dict[str, Entry] = field(default_factory=dict)
    _holders: dict[str, dict[str, None]] = field(default_factory=dict)  # skill -> peers kept for it
    _in_use: dict[str, int] = field(default_factory=dict)  # skill -> until when, the latest used last
    _highest: dict[str, tuple[int, int]] = field(default_factory=dict)  # peer -> (sequence, expiry): outlives eviction
    _absent: dict[str, Absence] = field(default_factory=dict)
    _candidates: dict[str, tuple[Advert, ...]] = field(default_factory=dict)  # answers computed before
    _tidied_us: int = 0  # when expired sequence numbers were forgotten last

    # -- questions --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, peer_id: str) -> Entry | None:
        """Return what is known of one peer."""
        return self._entries.get(peer_id)

    def candidates(self, skill: str) -> tuple[Advert, ...]:
        """Return the adverts of nodes that serve the skill now and answered when last asked, by peer id.

        The same tuple object is returned until something changes. Expired adverts leave with `evict`.
        """
        found = self._candidates.get(skill)
        if found is None:
            usable = (self._entries[peer] for peer in sorted(self._holders.get(skill, ())))
            found = tuple(entry.advert for entry in usable if entry.usable and not entry.advert.not_serving)
            if skill in self._holders:
                self._candidates[skill] = found
        return found

    def holders(self, skill: str) -> tuple[Entry, ...]:
        """Return every entry for the skill, usable or not, by peer id."""
        return tuple(self._entries[peer] for peer in sorted(self._holders.get(skill, ())))

    def highest(self, peer_id: str) -> int:
        """Return the highest sequence number that is known of a peer, or 0."""
        return self._highest.get(peer_id, (0, 0))[0]

    def skills(self) -> tuple[str, ...]:
        """Return the names of all skills that some known node serves."""
        return tuple(sorted(self._holders))

    def enough(self, skill: str) -> bool:
        """Tell whether more nodes for the skill would hardly help."""
        return len(self.candidates(skill)) >= self.settings.enough

    def lacks(self, advert: Advert, now_us: int) -> bool:
        """Tell whether a node serves a skill that is in use here, and for which not enough are usable."""
        return any(self.in_use(skill.name, now_us) and not self.enough(skill.name) for skill in advert.skills)

    def in_use(self, skill: str, now_us: int) -> bool:
        """Tell whether somebody here asked for the skill lately."""
        return self._in_use.get(skill, now_us) > now_us

    def used(self, now_us: int) -> bool:
        """Tell whether somebody here asked for any skill lately."""
        return any(until_us > now_us for until_us in self._in_use.values())

    def worth_asking(self, peer_id: str, now_us: int) -> bool:
        """Tell whether a peer may be asked now: it did not fail, or its back-off is over."""
        entry, absence = self._entries.get(peer_id), self._absent.get(peer_id)
        if entry is not None and entry.failures:
            return entry.due_us <= now_us
        return absence is None or absence.until_us <= now_us

    def due(self, now_us: int, *, connected: Container[str], limit: int) -> tuple[str, ...]:
        """Return peers to ask now, longest overdue first.

        Those are the usable ones that are connected or serve a skill in use; and the others that are connected, or
        serve a skill in use for which not enough are usable. The more are usable, the less often each is asked.
        """
        if now_us < self.nobody_before_us:
            return ()
        later_us = (self.calm - 1) * self.settings.refresh_us
        lacking = {skill for skill in self._holders if self.in_use(skill, now_us) and not self.enough(skill)}
        due, coming_us = [], []
        for peer, entry in self._entries.items():
            due_us = entry.due_us + later_us if entry.usable else entry.due_us
            if due_us > now_us:
                coming_us.append(due_us)
            elif peer in connected or (self._wanted(entry, now_us) if entry.usable else _serves(entry.advert, lacking)):
                due.append((entry.due_us, peer))
        if not due:  # whoever is overdue and not wanted is looked at again with the next `evict`
            self.nobody_before_us = min(coming_us, default=now_us)
        return tuple(peer for _, peer in sorted(due)[:limit])

    # -- transitions ------------------------------------------------------------------------------------------

    def use(self, skill: str, now_us: int) -> None:
        """Note that somebody here needs the skill: its nodes are kept fresh from now on."""
        self._in_use.pop(skill, None)
        self._in_use[skill] = now_us + USED_FOR_REFRESHES * self.settings.refresh_us
        if len(self._in_use) > SKILLS_IN_USE_MAX:
            del self._in_use[next(iter(self._in_use))]

    def learn(
        self, advert: Advert, signed: SignedAdvert, *, direct: bool, now_us: int, due_us: int, expires_us: int
    ) -> Learned:
        """Take in an advert that `open_advert` accepted; `direct` says that its own node has just answered with it.

        `due_us` is when to ask the node (again); what somebody else says never puts that off. `expires_us` is when the
        advert expires.
        Raises RefusedError by the sequence rule (R-1), or because the directory is full of more useful nodes.
        """
        peer, old = advert.peer_id, self._entries.get(advert.peer_id)
        self._check_sequence(advert, signed, old)
        if old is None and not direct and self._needs_no_rumour(advert):
            raise RefusedError(f"the directory is full of nodes more useful than {peer}")
        if direct:
            self._absent.pop(peer, None)
            entry = Entry(advert, signed, True, now_us, due_us, expires_us)
        elif old is not None:
            # Somebody spoke of it: ask it soon, but keep what this node found out itself.
            same = old.advert.sequence == advert.sequence
            due_us = old.due_us if same else min(old.due_us, due_us)
            entry = replace(old, advert=advert, signed=signed, due_us=due_us, expires_us=expires_us)
        else:
            entry = Entry(advert, signed, False, now_us, due_us, expires_us)
        self._remember_sequence(advert, expires_us)
        self._store(entry, now_us)
        if old is None or (direct and not old.confirmed):
            return Learned.NEW
        return Learned.CHANGED if changed_materially(old.advert, advert) else Learned.REFRESHED

    def failed(self, peer_id: str, reason: str, *, now_us: int) -> None:
        """Note that a peer could not be reached or did not answer; it is asked again after a growing while."""
        entry, absence = self._entries.get(peer_id), self._absent.pop(peer_id, None)
        if entry is None:
            failures = 1 if absence is None else absence.failures + 1
            self._absent[peer_id] = Absence(failures, now_us + self._retry_us(failures))
            if len(self._absent) > self.settings.peers_max:
                del self._absent[next(iter(self._absent))]
            return
        failures = entry.failures + 1
        due_us = now_us + self._retry_us(failures)
        self._entries[peer_id] = replace(entry, failures=failures, reason=reason, due_us=due_us)
        self.nobody_before_us = min(self.nobody_before_us, due_us)
        self._stale(entry.advert)

    def suspect(self, peer_id: str, reason: str, *, now_us: int) -> None:
        """Note that a peer's connection ended: it is no candidate until it answers, and is asked at once.

        It was there until now, however long ago it was asked: its heartbeats answered.
        """
        entry = self._entries.get(peer_id)
        if entry is not None and entry.usable:
            self._entries[peer_id] = replace(entry, heard_us=now_us, failures=1, reason=reason, due_us=now_us)
            self.nobody_before_us = 0
            self._stale(entry.advert)

    def evict(self, now_us: int, *, connected: Container[str] = ()) -> tuple[str, ...]:
        """Forget the nodes that have not answered for three refresh periods, and expired adverts; returns them.

        A usable node with a live channel is not silent: its heartbeats answer.
        """
        oldest_us = now_us - EVICT_AFTER_REFRESHES * self.settings.refresh_us
        self.nobody_before_us = 0
        gone, usable = [], 0
        for peer, entry in self._entries.items():
            silent = entry.heard_us <= oldest_us and not (entry.usable and peer in connected)
            if silent or entry.expires_us < now_us:
                gone.append(peer)
            else:
                usable += entry.usable
        for peer in gone:
            self._drop(peer)
        self.calm = min(CALM_MOST, max(1, -(-usable // ASKED_A_PERIOD)))
        if now_us >= self._tidied_us + self.settings.refresh_us:
            self._tidied_us = now_us
            self._highest = {peer: known for peer, known in self._highest.items() if known[1] >= now_us}
        for peer in [peer for peer, absence in self._absent.items() if absence.until_us <= oldest_us]:
            del self._absent[peer]
        return tuple(gone)

    # -- parts ------------------------------------------------------------------------------------------------

    def _wanted(self, entry: Entry, now_us: int) -> bool:
        return any(self.in_use(skill.name, now_us) for skill in entry.advert.skills)

    def _retry_us(self, failures: int) -> int:
        return min(RETRY_FIRST_US << min(failures - 1, 16), self.settings.refresh_us)

    def _check_sequence(self, advert: Advert, signed: SignedAdvert, old: Entry | None) -> None:
        highest, _ = self._highest.get(advert.peer_id, (-1, 0))
        if advert.sequence < highest:
            raise SequenceError(
                f"the advert of {advert.peer_id} has sequence number {advert.sequence}, and {highest} is known already"
            )
        if advert.sequence == highest and old is not None and old.signed.advert != signed.advert:
            raise SequenceError(f"{advert.peer_id} signed two adverts with sequence number {highest}")

    def _remember_sequence(self, advert: Advert, expires_us: int) -> None:
        self._highest[advert.peer_id] = (advert.sequence, expires_us)
        if len(self._highest) > 8 * self.settings.peers_max:
            known = ((expires, peer) for peer, (_, expires) in self._highest.items() if peer not in self._entries)
            _, soonest = min(known, default=(0, advert.peer_id))
            del self._highest[soonest]

    def _store(self, entry: Entry, now_us: int) -> None:
        peer = entry.advert.peer_id
        old = self._entries.get(peer)
        self.nobody_before_us = min(self.nobody_before_us, entry.due_us)
        if old is not None and _names(old.advert) == _names(entry.advert):
            self._replace(old, entry)
            return
        if old is not None:
            self._unlist(old.advert)
        self._entries[peer] = entry
        if entry.usable:
            self._stale(entry.advert)
        for skill in entry.advert.skills:
            self._list(skill.name, peer, now_us)
        listed = any(peer in self._holders.get(skill.name, ()) for skill in entry.advert.skills)
        if entry.advert.skills and not listed:
            self._drop(peer)
        elif len(self._entries) > self.settings.peers_max:
            self._drop(min(self._entries, key=lambda other: self._usefulness(other, now_us)))
        if peer not in self._entries:
            raise RefusedError(f"the directory is full of nodes more useful than {peer}")

    def _replace(self, old: Entry, new: Entry) -> None:
        """Store an advert with the skills of the one before: nobody else's place depends on it."""
        same = old.advert.sequence == new.advert.sequence
        self._entries[new.advert.peer_id] = replace(new, advert=old.advert) if same else new
        if old.usable != new.usable or not (same or not new.usable):
            self._stale(new.advert)

    def _needs_no_rumour(self, advert: Advert) -> bool:
        """Tell, cheaply, that a node of which somebody spoke would be kept for none of its skills."""
        most = self.settings.peers_per_skill_max
        return bool(advert.skills) and all(len(self.candidates(skill.name)) >= most for skill in advert.skills)

    def _list(self, skill: str, peer: str, now_us: int) -> None:
        holders = self._holders.setdefault(skill, {})
        holders[peer] = None
        if len(holders) > self.settings.peers_per_skill_max:
            wanted = self.in_use(skill, now_us) or None  # then all of them are: they serve it
            worst = min(holders, key=lambda other: self._usefulness(other, now_us, wanted))
            del holders[worst]
            if worst != peer and not any(worst in others for others in self._holders.values()):
                self._drop(worst)

    def _usefulness(self, peer: str, now_us: int, wanted: bool | None = None) -> tuple[bool, bool, bool, int, str]:
        # Confirmed nodes before rumours, however many: rumours cost their author nothing.
        entry = self._entries[peer]
        wanted = self._wanted(entry, now_us) if wanted is None else wanted
        return entry.confirmed, entry.failures == 0, wanted, -entry.heard_us, peer

    def _drop(self, peer: str) -> None:
        self._unlist(self._entries.pop(peer).advert)

    def _unlist(self, advert: Advert) -> None:
        self._stale(advert)
        for skill in advert.skills:
            holders = self._holders.get(skill.name)
            if holders is not None:
                holders.pop(advert.peer_id, None)
                if not holders:
                    del self._holders[skill.name]

    def _stale(self, advert: Advert) -> None:
        for skill in advert.skills:
            self._candidates.pop(skill.name, None)


def _serves(advert: Advert, skills: Container[str]) -> bool:
    return any(skill.name in skills for skill in advert.skills)


def _names(advert: Advert) -> list[str]:
    return [skill.name for skill in advert.skills]
