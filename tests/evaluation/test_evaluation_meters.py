from evaluation_cases import HOUR, START, limit, subject

from core.evaluation.meters import Meters
from core.model import Source, Window


def test_the_first_request_that_does_not_fit_closes_the_window_until_its_reset():
    meters = Meters(subject("a", limit("month", 100.0, 100.0)))
    (month,) = meters.all
    meters.roll(START)
    assert meters.take("small", 60) == ()
    assert meters.take("small", 41) == (month,)
    assert meters.take("small", 1) == (month,)
    assert (month.used, month.used_percent) == (60.0, 100.0)
    meters.roll(START + 10 * HOUR)
    assert month.used_percent == 0.0
    assert meters.take("small", 100) == ()
    assert month.used_percent == 100.0
    assert month.own == [60.0, 100.0]


def test_a_request_that_one_window_turns_away_is_charged_to_none():
    short, long = limit("five_hour", 10.0, 10.0, hours=5), limit("seven_day", 100.0)
    meters = Meters(subject("a", short, long))
    assert [m.limit.name for m in meters.take("small", 11)] == ["five_hour"]
    assert [m.used for m in meters.all] == [0.0, 0.0]
    assert [m.closed for m in meters.all] == [True, False]


def test_a_scoped_window_binds_its_model_alone():
    week, large = limit("seven_day", 100.0), limit("seven_day_large", 20.0, scope="large")
    meters = Meters(subject("a", week, large))
    assert meters.take("large", 15) == ()
    assert meters.take("small", 15) == ()
    assert [m.used for m in meters.all] == [30.0, 15.0]
    assert [m.limit.name for m in meters.take("large", 15)] == ["seven_day_large"]
    assert meters.take("small", 15) == ()


def test_use_from_outside_counts_and_is_told_apart():
    meters = Meters(subject("a", limit("month", 100.0)))
    (month,) = meters.all
    assert meters.take("small", 70, outside=True) == ()
    assert meters.take("small", 20) == ()
    assert (month.own, month.outside, month.used_percent) == ([20.0], [70.0], 90.0)


def test_a_window_is_shown_as_a_provider_shows_it():
    meters = Meters(subject("a", limit("month", 100.0, 50.0)))
    meters.roll(START + 12 * HOUR)
    (month,) = meters.all
    now = START + 12 * HOUR
    expected = Window("month", 33.0, START + 20 * HOUR, 10 * HOUR, Source.ENDPOINT, now)
    assert month.window(now, 33.0) == expected


def test_after_the_last_run_nothing_rolls():
    meters = Meters(subject("a", limit("month", 100.0)))
    meters.take("small", 30)
    meters.roll(START + 99 * HOUR)
    assert meters.all[0].used == 30.0
