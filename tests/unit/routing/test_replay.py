from __future__ import annotations

import pytest

from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.replay import Outcome, ReplaySettings, answered_tasks, recorded, replay
from swarmharness.routing.replay_model import draw, fit, model_of
from swarmharness.routing.trace import Trace
from tests.unit.routing.traces import START_US, Server, record, served
from tests.unit.routing.views import view

S = 1_000_000
POLICY = RoutingPolicy()
MODEL = model_of("text-embedding", "")
DEAR = RoutingPolicy(price_weight=2.0)
SETTINGS = ReplaySettings()


def run(trace: Trace, policy: RoutingPolicy | None, settings: ReplaySettings = SETTINGS) -> Outcome:
    return replay(trace, fit(trace), policy, settings, name="p")


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_the_servers_and_the_way_of_a_peer_are_found_from_its_times(slots: int) -> None:
    trace = served({"a": Server(10_000, 3_000, slots)}, ["a"] * 200, gap_us=10_000 // slots - 500)
    model = fit(trace)["a"]
    assert model.slots == slots
    assert model.work[MODEL].rest_us == 3_000
    assert model.work[MODEL].typical_us == 10_000


@pytest.mark.parametrize("gap_us", [1_000, 5_000, 20_000])
def test_the_recorded_choices_come_out_of_the_model_as_they_were(gap_us: int) -> None:
    servers = {"a": Server(5_000), "b": Server(12_000, slots=2)}
    trace = served(servers, ["a", "b", "a", "a"] * 100, gap_us=gap_us)
    really, modelled = recorded(trace, SETTINGS), run(trace, None)
    for percent in (50, 90, 99):
        assert modelled.quantile_us(percent) == pytest.approx(really.quantile_us(percent), rel=0.02)
    assert modelled.items_by_peer == really.items_by_peer
    assert modelled.same_choice == len(trace.records)


def test_a_policy_that_waits_for_nobody_beats_a_bad_choice_that_was_recorded() -> None:
    trace = served({"slow": Server(40_000), "fast": Server(5_000)}, ["slow"] * 90 + ["fast"] * 10, gap_us=10_000)
    really, better = recorded(trace, SETTINGS), run(trace, POLICY)
    assert better.quantile_us(50) < really.quantile_us(50) / 10
    assert better.items_by_peer["fast"] > 90
    assert better.as_dict()["goodput"] == 1.0


def test_two_policies_are_told_apart() -> None:
    servers = {"cheap": Server(20_000), "quick": Server(5_000)}
    trace = served(servers, ["cheap", "quick"] * 50, gap_us=30_000)
    views = (view("cheap", measured_us=20_000, price_microcredits=10), view("quick", price_microcredits=10_000))
    priced = Trace(
        tuple(
            record(r.time_us, r.chosen, views=views, service_us=r.service_us, elapsed_us=r.elapsed_us)
            for r in trace.records
        )
    )
    free, saving = run(priced, RoutingPolicy(price_weight=0.0)), run(priced, DEAR)
    assert free.items_by_peer == {"quick": 100}
    assert saving.items_by_peer == {"cheap": 100}
    assert saving.quantile_us(50) > free.quantile_us(50)


def test_a_replay_depends_on_its_seed_and_on_nothing_else() -> None:
    servers = {"a": Server(5_000), "b": Server(9_000)}
    trace = served(servers, ["a", "b", "b"] * 40, gap_us=4_000)
    noisy = Trace(
        tuple(
            record(r.time_us, r.chosen, service_us=r.service_us * (1 + n % 5), elapsed_us=r.elapsed_us * 5)
            for n, r in enumerate(trace.records)
        )
    )
    assert run(noisy, POLICY) == run(noisy, POLICY)
    assert run(noisy, POLICY) != run(noisy, POLICY, ReplaySettings(seed=2))


def test_other_peoples_load_is_replayed_as_it_was_seen() -> None:
    trace = Trace(
        tuple(record(START_US + n * S, "a", views=(view("a"),), elapsed_us=106_000, queued_items=20) for n in range(20))
    )
    assert fit(trace)["a"].others_at(START_US + 5 * S) == 20
    assert fit(trace)["a"].others_at(START_US + 60 * S) == 0


def test_failed_and_cancelled_tasks_are_not_replayed_but_teach_who_fails() -> None:
    good = [record(START_US + n * S, "b") for n in range(50)]
    bad = [record(START_US + n * S + 1, "a", error="lost", elapsed_us=500_000) for n in range(50)]
    gone = [record(START_US + n * S + 2, "b", error="cancelled") for n in range(50)]
    trace = Trace(tuple(sorted((*good, *bad, *gone), key=lambda each: each.time_us)))
    assert len(answered_tasks(trace)) == 50
    models = fit(trace)
    assert models["a"].work[MODEL].failures_micro == S
    assert models["b"].work[MODEL].failures_micro == 0
    outcome = run(trace, RoutingPolicy())
    assert outcome.items_by_peer == {"b": 50}, "whoever fails is tried, and the task then goes elsewhere"


def test_a_peer_that_never_answered_takes_its_claim_with_the_spread_of_the_others() -> None:
    trace = served({"a": Server(5_000)}, ["a"] * 10, gap_us=10_000)
    seen = Trace(
        tuple(
            record(r.time_us, "a", views=(view("a"), view("idle", measured_us=None, advertised_us=8_000)))
            for r in trace.records
        )
    )
    work = fit(seen)["idle"].work[MODEL]
    assert [sample.item_us for sample in work.samples] == [8_000] * 10
    assert work.rest_us == 1_000, "the round trip, for want of anything better"
    assert not work.observed


def test_a_task_that_nobody_can_take_counts_as_unanswered() -> None:
    trace = Trace((record(START_US, "a", views=(view("a"),), items=9),))
    small = Trace((record(START_US, "a", views=(view("a", batch_invariant=False, batch_items_max=4),), items=9),))
    assert run(trace, POLICY).as_dict()["goodput"] == 1.0
    told = run(small, POLICY).as_dict()
    assert (told["answered"], told["goodput"], told["p99_ms"]) == (0, 0.0, 0.0)


def test_an_answer_beyond_the_limit_is_no_good() -> None:
    trace = served({"a": Server(5_000)}, ["a"] * 10, gap_us=1_000)
    assert recorded(trace, ReplaySettings(within_us=20_000)).as_dict()["goodput"] == 0.4


def test_quantiles_are_those_of_nearest_rank() -> None:
    outcome = Outcome("p", 10, tuple(range(1, 11)), {}, 0, 10)
    assert [outcome.quantile_us(percent) for percent in (50, 90, 99)] == [5, 9, 10]


def test_draws_are_even_and_depend_on_every_argument() -> None:
    draws = {draw(seed, number, peer) for seed in range(10) for number in range(10) for peer in ("a", "b", "long" * 30)}
    assert len(draws) == 300
    mean = sum(draw(1, number) % 1000 for number in range(4000)) / 4000
    assert mean == pytest.approx(500, rel=0.05)


def test_no_task_is_replayed_on_another_model() -> None:
    one, two = "aa" * 32, "bb" * 32
    views = view("slow", measured_us=50_000, model_digest=one), view("fast", measured_us=1_000, model_digest=two)
    tasks = [("slow", one, 50_000)] * 10 + [("fast", two, 1_000)] * 10
    trace = Trace(
        tuple(
            record(
                *(START_US + number * S, peer),
                views=views,
                model_digest=digest,
                service_us=service_us,
                elapsed_us=service_us + 1_000,
            )
            for number, (peer, digest, service_us) in enumerate(tasks)
        )
    )
    assert run(trace, POLICY).items_by_peer == {"slow": 10, "fast": 10}
