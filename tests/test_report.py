from dataclasses import replace

import pytest
from rich.console import Console

from core import report
from core.model import Budget, Period, Source, Window, WindowView

NOW = 1_000_000.0


def rendered(item: object, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(item)
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("used", "elapsed", "drawn"),
    [
        (0.0, None, ".........."),
        (50.0, None, "#####....."),
        (100.0, None, "##########"),
        (140.0, None, "##########"),
        (-3.0, None, ".........."),
        (50.0, 20.0, "##|##....."),
        (50.0, 80.0, "#####...|."),
        (50.0, 100.0, "#####....|"),
        (0.0, 0.0, "|........."),
    ],
)
def test_bar_shows_use_and_pace(used, elapsed, drawn):
    assert report.bar(used, elapsed, width=10) == drawn


def test_windows_fit_80_columns_and_say_what_is_unknown():
    week = Window("seven_day", 60.0, NOW + 90_000, 604_800.0, Source.ENDPOINT, NOW)
    session = Window("session", 12.0, None, None, Source.HEADER, NOW)
    accounts = {
        "anthropic": [WindowView(week, 40.0, 20.0), WindowView(session, None, None)],
        "github-copilot": [],
    }
    lines = rendered(report.windows(accounts, NOW))
    assert lines[2:] == [
        " anthropic        seven_day   ######|###......   60.0 %    +20.0   1 d 1 h",
        " anthropic        session     ##..............   12.0 %",
        " github-copilot   -           unknown",
    ]
    assert max(map(len, lines)) <= 80


def test_a_window_of_one_model_has_its_name_on_a_line_of_its_own_where_it_is_long():
    name = "gpt-5.3-codex-spark"
    spark = Window(f"seven_day_{name}", 100.0, NOW + 470_000, 604_800.0, Source.HEADER, NOW, name)
    opus = Window("seven_day_opus", 7.0, None, None, Source.HEADER, NOW, "opus")
    views = (WindowView(spark, 22.5, 77.5), WindowView(opus, None, None))
    assert rendered(report.windows({"chatgpt": views}, NOW))[2:] == [
        " chatgpt   seven_day             ###|########    100.0 %    +77.5   5 d 10 h",
        "           gpt-5.3-codex-spark",
        " chatgpt   seven_day_opus        #...........      7.0 %",
    ]
    reading = report.Reading("chatgpt", report.Status.KNOWN, views, "plus", None, NOW)
    lines = rendered(report.usage([reading], NOW))
    assert [line.split()[0] for line in lines[3:6]] == ["seven_day", name, "seven_day_opus"]
    assert max(map(len, lines)) <= 80


def test_an_estimate_says_how_sure_it_is_and_a_reading_does_not():
    read = Window("five_hour", 40.0, NOW + 9000, 18_000.0, Source.ENDPOINT, NOW - 40)
    carried = replace(read, name="seven_day", source=Source.ESTIMATE)
    views = (WindowView(read, 50.0, -10.0, 0.99), WindowView(carried, 50.0, -10.0, 0.666))
    reading = report.Reading("anthropic", report.Status.KNOWN, views)
    assert rendered(report.usage([reading], NOW))[3:] == [
        "   five_hour   #####.|.....    40.0 %   resets in 2 h 30 min",
        "                                        lasts to reset; endpoint, 40 s ago",
        "   seven_day   #####.|.....    40.0 %   resets in 2 h 30 min",
        "                                        lasts to reset;",
        "                                        estimate, 67 % sure, 40 s ago",
    ]
    found = report.usage_json([reading], NOW)["providers"]["anthropic"]
    assert [window["confidence"] for window in found["windows"]] == [0.99, 0.666]
    assert "spent_usd" not in found


def test_large_budgets_fit_80_columns():
    name = "budget"
    window = Window(name, 69.0, NOW + 716_400, 2_592_000.0, Source.DECLARED, NOW)
    spending = report.Spending(Budget(15_000.0, Period.MONTH), 10_345.678)
    views = (WindowView(window, 72.0, -3.0),)
    reading = report.Reading("openrouter", report.Status.KNOWN, views, spending=spending)
    lines = rendered(report.usage([reading], NOW))
    assert lines[3:] == [
        "   budget   ########.|..    69.0 %   $10,345.68 of $15,000.00,",
        "                                     resets in 8 d 7 h",
        "                                     lasts to reset; declared",
    ]


def test_what_has_no_price_is_said():
    def said(**more):
        spending = report.Spending(Budget(50.0, Period.DAY), 3.25, unpriced=("glm", "gpt"), **more)
        reading = report.Reading("a", report.Status.KNOWN, spending=spending)
        told = report.usage_json([reading], NOW)["providers"]["a"]
        return rendered(report.usage([reading], NOW), 120)[1:], told

    lines, told = said(known=False)
    assert lines == ["  spend unknown: no price for glm, gpt; the rest is $3.25 of $50.00"]
    assert (told["spent_usd"], told["unpriced"]) == (None, ["glm", "gpt"])
    lines, told = said(known=True)
    assert lines == [
        "  no price for glm, gpt: what that costs counts from the provider's next reading on"
    ]
    assert (told["spent_usd"], told["budget_usd"], told["budget_per"]) == (3.25, 50.0, "day")


def test_a_figure_of_the_budget_that_is_not_of_now_has_its_age():
    window = Window("budget", 69.0, NOW + 3600, 86_400.0, Source.DECLARED, NOW - 60)
    views = (WindowView(window, None, None),)
    spending = report.Spending(Budget(50.0, Period.DAY), 34.5)
    reading = report.Reading("a", report.Status.KNOWN, views, spending=spending)
    assert rendered(report.usage([reading], NOW))[-1].endswith(
        "pace not known; declared, 1 min ago"
    )


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0.0, "$0.00"),
        (0.004, "$0.004"),
        (0.00043, "$0.0004"),
        (0.01, "$0.01"),
        (12.4, "$12.40"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars_have_cents_and_less_than_one_is_not_nothing(usd, shown):
    assert report.dollars(usd) == shown


def test_a_request_shows_who_served_it_and_each_reason_on_a_line_of_its_own():
    shown = report.request("limit-router/m", "a (m)", "200", "a: one; b: two", "Hello.")
    assert rendered(shown) == ["limit-router/m -> a (m)", '  200: "Hello."', "  a: one", "  b: two"]


def test_a_refused_request_says_nobody():
    shown = report.request("limit-router/m", None, "429", "spent", "")
    assert rendered(shown) == ["limit-router/m -> nobody", "  429", "  spent"]
