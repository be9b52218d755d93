"""Arbitrary events on a directory, with its invariants after each."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarmharness.errors import RefusedError
from swarmharness.registry.directory import EVICT_AFTER_REFRESHES, Directory, DirectorySettings
from tests.unit.registry.samples import advert, identity, signed

PEERS = [identity(number) for number in range(8)]
SKILLS = ["a", "b", "c"]
SETTINGS = DirectorySettings(refresh_us=60_000_000, peers_per_skill_max=3, peers_max=5)

peers = st.sampled_from(PEERS)
skill_sets = st.lists(st.sampled_from(SKILLS), unique=True, max_size=3)


class DirectoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(SETTINGS)
        self.now_us = 0
        self.highest: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.failing: set[str] = set()

    @rule(peer=peers, skills=skill_sets, sequence=st.integers(1, 6), direct=st.booleans())
    def learn(self, peer: object, skills: list[str], sequence: int, direct: bool) -> None:
        signer = PEERS[PEERS.index(peer)]  # type: ignore[arg-type]
        body, wire = signed(signer, advert(signer, skills, sequence=sequence, lifetime_s=86_000))
        try:
            self.directory.learn(
                body, wire, direct=direct, now_us=self.now_us, due_us=self.now_us + 50_000_000, expires_us=2**60
            )
        except RefusedError:
            return
        assert sequence >= self.highest.get(signer.peer_id, 0), "R-1"
        self.highest[signer.peer_id] = sequence
        if direct:
            self.heard[signer.peer_id] = self.now_us
            self.failing.discard(signer.peer_id)

    @rule(peer=peers, suspect=st.booleans())
    def fail(self, peer: object, suspect: bool) -> None:
        peer_id = PEERS[PEERS.index(peer)].peer_id  # type: ignore[arg-type]
        act = self.directory.suspect if suspect else self.directory.failed
        act(peer_id, "gone", now_us=self.now_us)
        self.failing.add(peer_id)

    @rule(skill=st.sampled_from(SKILLS))
    def use(self, skill: str) -> None:
        self.directory.use(skill, self.now_us)

    @rule(passed_s=st.integers(1, 100))
    def wait(self, passed_s: int) -> None:
        self.now_us += passed_s * 1_000_000
        self.directory.evict(self.now_us)

    @invariant()
    def candidates_answered_themselves_and_have_not_failed_since(self) -> None:
        for skill in SKILLS:
            found = self.directory.candidates(skill)
            assert [candidate.peer_id for candidate in found] == sorted({candidate.peer_id for candidate in found})
            for candidate in found:
                assert candidate.skill(skill) is not None
                assert candidate.peer_id not in self.failing
                silent_us = self.now_us - self.heard[candidate.peer_id]
                assert silent_us < EVICT_AFTER_REFRESHES * SETTINGS.refresh_us

    @invariant()
    def the_limits_hold(self) -> None:
        assert len(self.directory) <= SETTINGS.peers_max
        for skill in SKILLS:
            assert len(self.directory.holders(skill)) <= SETTINGS.peers_per_skill_max

    @invariant()
    def nothing_old_is_believed(self) -> None:
        for entry in self.directory:
            assert entry.advert.sequence == self.highest[entry.advert.peer_id], "R-1"

    @invariant()
    def every_entry_is_found_by_a_skill_or_has_none(self) -> None:
        listed = {entry.advert.peer_id for skill in SKILLS for entry in self.directory.holders(skill)}
        for entry in self.directory:
            assert not entry.advert.skills or entry.advert.peer_id in listed

    @invariant()
    def cached_answers_are_true(self) -> None:
        for skill in SKILLS:
            usable = tuple(entry.advert for entry in self.directory.holders(skill) if entry.usable)
            assert self.directory.candidates(skill) == usable


TestDirectory = DirectoryMachine.TestCase
TestDirectory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
