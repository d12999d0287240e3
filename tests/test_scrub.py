from hypothesis import given
from hypothesis import strategies as st

from core import scrub
from core.model import Secret, Source, Usage, Window

TOKEN = "gho_16C7e42F292c6912E7710c838347Ae178B4a"
SECRET = Secret(TOKEN)


def window(name: str, scope: str | None = None) -> Window:
    return Window(name, 40.0, None, None, Source.ENDPOINT, 1.0, scope)


def test_what_a_provider_says_of_itself_stays() -> None:
    found = Usage((window("five_hour"), window("seven_day_opus", "opus")), "individual_pro")
    assert scrub.usage(found, SECRET) == found
    models = ("claude-sonnet-4.5", "gpt-5.5")
    assert scrub.models(models, SECRET) == models
    assert scrub.models((), SECRET) == ()


def test_what_is_called_like_the_token_goes_and_the_rest_stays() -> None:
    found = Usage((window("five_hour"), window(f"seven_day_{TOKEN}", TOKEN)), f"plan {TOKEN}")
    assert scrub.usage(found, SECRET) == Usage((window("five_hour"),))
    assert scrub.models(("m", f"x{TOKEN}"), SECRET) == ("m",)


def test_a_part_of_it_counts_in_any_case() -> None:
    assert scrub.usage(Usage((), TOKEN[5:17].upper()), SECRET) == Usage()
    assert scrub.usage(Usage((window("x", TOKEN.lower()[-12:]),)), SECRET) == Usage()
    assert scrub.models((TOKEN[:11], TOKEN[:12]), SECRET) == (TOKEN[:11],)


def test_a_short_secret_is_looked_for_as_a_whole() -> None:
    assert scrub.models(("hunter2", "hunter", "xHUNTER2x"), Secret("hunter2")) == ("hunter",)


@given(st.text(min_size=20, max_size=80), st.text(), st.text(), st.integers(0, 60))
def test_no_run_of_it_comes_through(token: str, before: str, after: str, at: int) -> None:
    piece = token[at : at + scrub.PIECE]
    if len(piece) == scrub.PIECE:
        name = f"{before}{piece}{after}"
        assert scrub.models((name,), Secret(token)) == ()
        assert scrub.usage(Usage((window(name),), name), Secret(token)) == Usage()
