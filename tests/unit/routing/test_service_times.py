from __future__ import annotations

from swarmharness.routing.service_times import KEPT, ServiceTimes


def add(times: ServiceTimes, *, service_us: int = 1_000, elapsed_us: int = 1_000, found_items: int = 0) -> None:
    times.add(items=1, service_us=service_us, elapsed_us=elapsed_us, found_items=found_items)


def test_the_first_call_counts_whole_and_a_later_one_an_eighth() -> None:
    times = ServiceTimes()
    assert (times.service_us, times.latency_us(3)) == (0, 0)
    add(times, service_us=800)
    assert times.service_us == 800
    add(times, service_us=1_600)
    assert times.service_us == 900


def test_the_latency_is_the_median_of_calls_that_found_about_as_many_items() -> None:
    times = ServiceTimes()
    for elapsed_us in range(1, 9):
        add(times, elapsed_us=elapsed_us, found_items=0)
        add(times, elapsed_us=1_000 * elapsed_us, found_items=10)
    assert times.latency_us(1) == 5
    assert times.latency_us(9) == 5_000


def test_old_calls_are_forgotten() -> None:
    times = ServiceTimes()
    add(times, elapsed_us=10**9)
    for _ in range(KEPT):
        add(times, elapsed_us=7)
    assert times.latency_us(0) == 7
