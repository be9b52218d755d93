"""What the checks of all jobs of a node share: quorum, standings, known answers; it draws, and notes who was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from swarmharness.identity import PeerId
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.known import KnownAnswers
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.jobs.verification.quorum import Quorum
from swarmharness.jobs.verification.standings import Standings
from swarmharness.ports import Randomness
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey


class Judging:
    """Its counters tell `node status` what checks found."""

    def __init__(
        self,
        quorum: Quorum,
        standings: Standings,
        randomness: Randomness,
        settings: VerificationSettings,
        *,
        own_id: PeerId,
        trusts: Callable[[PeerId], bool],
    ) -> None:
        self.quorum, self.standings, self.settings, self.own_id = quorum, standings, settings, own_id
        self.trusts = trusts
        """Whether a peer is the operator's own: `adaptive` believes it."""
        self.known = KnownAnswers()
        self.counted: Counter[str] = Counter()
        self._randomness = randomness

    def below(self, limit: int) -> int:
        """Draw a uniform integer in [0, limit)."""
        return self._randomness.below(limit)

    def batch_tasks(self, peer_id: PeerId, model: ModelKey) -> int:
        """Return how many answers of this peer one check covers."""
        return self.standings.batch_tasks(peer_id, model)

    def right(
        self,
        answers: Sequence[TaskAnswer],
        skill: SkillAdvert,
        items: tuple[bytes, ...],
        *,
        parameters: bytes,
        tasks: int = 1,
    ) -> None:
        """Note answers to the same items that were right; of the first, a check covers so many tasks."""
        self.counted["checks_passed"] += 1
        self.counted["items_checked"] += len(items)
        for place, answer in enumerate(answers):
            if answer.terms is not None:
                self.standings.valid(answer.peer_id, skill.model, 1 if place else tasks)
        certain = any(answer.terms is None for answer in answers)
        if self.settings.spot_checks and (certain or len(answers) > 1):
            place = self.below(len(items))
            output, seen = answers[0].outputs[place], [answer.peer_id for answer in answers]
            self.known.add((skill.model, parameters), items[place], output, seen=seen, certain=certain)

    def wrong(self, answer: TaskAnswer, skill: SkillAdvert, reason: str) -> None:
        """Note an answer that was wrong."""
        self.counted["answers_found_wrong"] += 1
        self.standings.invalid(answer.peer_id, skill.model, reason)

    def doubt(self, answer: TaskAnswer, skill: SkillAdvert) -> None:
        """Note an answer that was disputed without end."""
        self.counted["answers_in_doubt"] += 1
        if answer.terms is not None:
            self.standings.doubt(answer.peer_id, skill.model)

    def drop_known(self, skill: SkillAdvert, item: bytes, parameters: bytes) -> None:
        """Forget a known answer that somebody contradicted."""
        self.known.drop((skill.model, parameters), item)
