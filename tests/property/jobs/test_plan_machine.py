"""J-1 under any order of events: every item is settled exactly once, whoever answers, fails or repeats."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarmharness.jobs.plan import Chunk, JobPlan, PlanSettings

PEERS = ("a", "b", "c")


class PlanMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.plan = JobPlan(PlanSettings(first_chunk_items=3, chunk_items_max=5, attempts_max=2, block_items_max=4))
        self.fed = 0
        self.now_us = 0
        self.flying: list[Chunk] = []
        self.settled: list[int] = []

    @initialize(lengths=st.lists(st.integers(0, 100), min_size=1, max_size=20))
    def start(self, lengths: list[int]) -> None:
        self.feed(lengths)

    @rule(lengths=st.lists(st.integers(0, 100), max_size=10))
    def feed(self, lengths: list[int]) -> None:
        self.plan.feed((self.fed + offset, length) for offset, length in enumerate(lengths))
        self.fed += len(lengths)

    @rule(
        peer=st.sampled_from(PEERS),
        rates=st.tuples(*[st.floats(0, 1000)] * 3),
        wait_us=st.integers(0, 10**7),
        items_max=st.none() | st.integers(0, 6),
    )
    def take(self, peer: str, rates: tuple[float, float, float], wait_us: int, items_max: int | None) -> None:
        self.now_us += wait_us
        chosen = dict(zip(PEERS, rates, strict=True))
        chunk = self.plan.take(peer, now_us=self.now_us, rates=chosen, items_max=items_max)
        assert chunk is None or items_max is None or len(chunk.indices) <= items_max
        if chunk is not None:
            assert chunk.indices
            self.flying.append(chunk)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.settled.extend(self.plan.answered(self._land(data).chunk_id))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), blame_items=st.booleans())
    def fail(self, data: st.DataObject, blame_items: bool) -> None:
        failures = self.plan.failed(self._land(data).chunk_id, "why", blame_items=blame_items)
        self.settled.extend(failure.index for failure in failures)

    @precondition(lambda self: self.settled)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        """Answers turn out wrong: those items are settled no more."""
        wrong = data.draw(st.lists(st.sampled_from(self.settled), unique=True, max_size=4))
        assert self.plan.put_back(wrong) == tuple(wrong)
        self.settled = [index for index in self.settled if index not in wrong]

    @rule()
    def restart(self) -> None:
        """The node dies: what was settled is in the journal, the rest is fed again, what flies is lost."""
        unanswered = self.plan.unanswered
        self.plan = JobPlan(self.plan.settings)
        self.plan.feed((index, 1) for index in sorted(unanswered))
        self.flying = []

    @rule(rates=st.tuples(*[st.floats(0.001, 1000)] * 3))
    def somebody_works_if_there_is_work(self, rates: tuple[float, float, float]) -> None:
        chosen = dict(zip(PEERS, rates, strict=True))
        if self.flying or self.plan.finished:
            return
        chunks = [self.plan.take(peer, now_us=self.now_us, rates=chosen) for peer in PEERS]
        taken = [chunk for chunk in chunks if chunk is not None]
        assert taken
        self.flying.extend(taken)

    def _land(self, data: st.DataObject) -> Chunk:
        return self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))

    @invariant()
    def every_item_is_settled_once_or_unanswered(self) -> None:
        assert sorted([*self.settled, *self.plan.unanswered]) == list(range(self.fed))

    def teardown(self) -> None:
        """A peer that answers everything finishes the job: nothing was lost."""
        for _ in range(10 * self.fed + 10):
            chunk = self.plan.take("finisher", now_us=self.now_us, rates={"finisher": 1e9})
            if chunk is None:
                break
            self.settled.extend(self.plan.answered(chunk.chunk_id))
        for chunk in self.flying:
            self.settled.extend(self.plan.answered(chunk.chunk_id))
        assert sorted(self.settled) == list(range(self.fed))


TestPlanMachine = PlanMachine.TestCase
