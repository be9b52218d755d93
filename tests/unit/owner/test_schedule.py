from __future__ import annotations

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.owner.ports import LocalTime
from swarmharness.owner.schedule import DAYS, Hours, allows, complain_about_hours, next_opening, parse_hours


def at(day: str, clock: str) -> LocalTime:
    hours, minutes = map(int, clock.split(":"))
    return LocalTime(DAYS.index(day), 60 * hours + minutes)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("mon-fri 19:00-07:00", Hours((0, 1, 2, 3, 4), 1140, 420)),
        ("Sat,SUN", Hours((5, 6), 0, 1440)),
        ("  daily   22:00-06:00 ", Hours((0, 1, 2, 3, 4, 5, 6), 1320, 360)),
        ("fri-mon 9:05-24:00", Hours((0, 4, 5, 6), 545, 1440)),
        ("wed 18:00-00:00", Hours((2,), 1080, 1440)),
        ("mon,mon-tue 00:00-24:00", Hours((0, 1), 0, 1440)),
    ],
)
def test_what_a_person_writes_is_understood(text: str, hours: Hours) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not days and hours"),
        ("mon 8:00 - 9:00", "is not days and hours"),
        ("noon", 'has "noon" where a day should be'),
        ("mon- 8:00-9:00", 'has "" where a day should be'),
        ("montag 8:00-9:00", 'has "montag" where a day should be'),
        ("mon 8-9", 'has "8" where a time such as 07:30 should be'),
        ("mon 08:00", 'has "08:00" where hours such as'),
        ("mon 08:00-25:00", 'has "25:00", which no clock shows'),
        ("mon 08:60-09:00", 'has "08:60", which no clock shows'),
        ("mon 24:01-09:00", 'has "24:01", which no clock shows'),
        ("mon 24:00-09:00", "begins at 24:00"),
        ("mon 08:00-08:00", "begins when it ends; a whole day is 00:00-24:00"),
    ],
)
def test_a_mistake_is_named_with_an_example(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_hours(text)
    assert problem in str(caught.value)
    assert str(caught.value).endswith('an example is "mon-fri 19:00-07:00"')
    assert complain_about_hours(text) == f"has {caught.value}"


def test_a_complaint_is_one_line_whatever_was_written() -> None:
    complaint = complain_about_hours("mon\n\x1b[31m 8:00-\n9:00 " + 1000 * "x")
    assert complaint is not None
    assert complaint.isprintable()
    assert len(complaint) < 500
    assert complain_about_hours("mon 8:00-9:00") is None


@pytest.mark.parametrize(
    ("day", "clock", "inside"),
    [
        ("mon", "18:59", False),
        ("mon", "19:00", True),
        ("tue", "06:59", True),
        ("tue", "07:00", False),
        ("fri", "23:59", True),
        ("sat", "06:59", True),
        ("sat", "07:00", False),
        ("sat", "19:00", False),
        ("sun", "23:59", False),
        ("mon", "00:00", False),
    ],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_begin(day: str, clock: str, inside: bool) -> None:
    assert parse_hours("mon-fri 19:00-07:00").covers(at(day, clock)) is inside


def test_sunday_night_ends_on_monday() -> None:
    hours = parse_hours("sun 22:00-06:00")
    assert hours.covers(at("mon", "05:59"))
    assert not hours.covers(at("mon", "06:00"))
    assert not hours.covers(at("sun", "05:00"))


def test_a_whole_day_is_all_of_it_and_no_more() -> None:
    hours = parse_hours("sat")
    assert hours.covers(at("sat", "00:00"))
    assert hours.covers(at("sat", "23:59"))
    assert not hours.covers(at("fri", "23:59"))
    assert not hours.covers(at("sun", "00:00"))


def test_any_entry_allows_and_no_entry_always_does() -> None:
    schedule = [parse_hours("mon 08:00-09:00"), parse_hours("mon 08:30-10:00")]
    assert allows(schedule, at("mon", "09:30"))
    assert not allows(schedule, at("mon", "10:00"))
    assert allows([], at("mon", "10:00"))


def test_the_next_opening_is_named() -> None:
    schedule = [parse_hours("mon,thu 08:00-09:00"), parse_hours("wed 23:00-01:00")]
    assert next_opening(schedule, at("mon", "09:00")) == "wed 23:00"
    assert next_opening(schedule, at("thu", "01:00")) == "thu 08:00"
    assert next_opening(schedule, at("sun", "12:00")) == "mon 08:00"
    assert next_opening([], at("sun", "12:00")) == ""


def test_in_spring_hours_that_begin_in_the_skipped_hour_begin_after_it() -> None:
    hours = parse_hours("sun 02:30-04:00")  # the wall clock goes from 01:59 to 03:00
    assert [hours.covers(at("sun", clock)) for clock in ("01:59", "03:00", "03:59", "04:00")] == [
        False,
        True,
        True,
        False,
    ]
