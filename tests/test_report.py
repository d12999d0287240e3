import pytest
from rich.console import Console

from core import report
from core.model import Source, Window, WindowView

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


def test_a_request_shows_who_served_it_and_each_reason_on_a_line_of_its_own():
    shown = report.request("limit-router/m", "a (m)", "200", "a: one; b: two", "Hello.")
    assert rendered(shown) == ["limit-router/m -> a (m)", '  200: "Hello."', "  a: one", "  b: two"]


def test_a_refused_request_says_nobody():
    shown = report.request("limit-router/m", None, "429", "spent", "")
    assert rendered(shown) == ["limit-router/m -> nobody", "  429", "  spent"]
