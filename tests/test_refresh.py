import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refresh_process import config, kind

from core import providers
from core.accounts import Accounts
from core.authfile import AuthFile, Disk, token_digest
from core.config import parse
from core.credentials import Credentials
from core.errors import UsageError
from core.knowledge import IDLE_AFTER_S
from core.model import Credential, Headers, HttpRequest, HttpResponse, Secret
from core.poller import LONGEST_WAIT
from core.refresh import (
    BUSY_S,
    FIRST_RETRY_S,
    LONGEST_RETRY_S,
    MARGIN_S,
    UNWRITABLE_S,
    Refresher,
    after_failure,
    renewable,
)

NOW = 1_795_000_000.0
URLS = {
    "anthropic": "http://127.0.0.1:9/v1/oauth/token",
    "chatgpt": "http://127.0.0.1:9/oauth/token",
}
REUSED = {"error": {"code": "refresh_token_reused"}}


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """A token endpoint in memory: every refresh token works once. What it is told to answer first
    comes before that."""

    def __init__(self, *first: object) -> None:
        self.first = list(first)
        self.asked: list[HttpRequest] = []
        self.valid = {"/oauth/token": "ref-0", "/v1/oauth/token": "ref-0"}
        self.on_ask: Callable[[], Awaitable[None]] | None = None
        self.rotates, self.lasts = True, 3600

    async def send(self, request: HttpRequest, credential: Headers) -> HttpResponse:
        assert credential == (), "the token is in the body alone"
        self.asked.append(request)
        answer = self.first.pop(0) if self.first else None
        if isinstance(answer, UsageError):
            raise answer
        if self.on_ask is not None:
            await self.on_ask()
        if isinstance(answer, HttpResponse):
            return answer
        token = self.valid[request.path]
        if token.encode() not in request.body:
            return reply(400, REUSED if request.path == "/oauth/token" else INVALID)
        count = len(self.asked)
        body: dict[str, object] = {"access_token": f"acc-{count}", "expires_in": self.lasts}
        if self.rotates:
            body["refresh_token"] = self.valid[request.path] = f"ref-{count}"
        return reply(200, body)


def reply(status: int, body: object, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps(body).encode())


INVALID = {"error": "invalid_grant"}


def entry(expires_in: float = 100.0, **more: Any) -> dict[str, Any]:
    expires = int((NOW + expires_in) * 1000)
    return {"type": "oauth", "access": "acc-0", "refresh": "ref-0", "expires": expires, **more}


BESIDE = {"type": "api", "key": "k", "metadata": {"x": 1.5}}


class Rig:
    """A refresher on an auth.json of its own; ChatGPT signed in and about to expire unless told
    otherwise."""

    def __init__(
        self,
        folder: Path,
        entries: dict[str, Any] | None = None,
        *,
        disk: Disk | None = None,
        environ: dict[str, str] | None = None,
        settings: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.file = folder / "opencode" / "auth.json"
        self.file.parent.mkdir(exist_ok=True)
        if entries is not None:
            self.write(entries)
        self.clock = clock or Clock()
        self.credentials = Credentials(environ or {}, folder)
        self.config = parse(settings or config(URLS), "mitm.yaml", tuple(providers.known()))
        self.disk = disk or Disk()
        self.refresher = self.made()

    def made(self, previous: Refresher | None = None) -> Refresher:
        accounts = Accounts(self.config, self.credentials, providers.known())
        return Refresher(
            lambda: accounts, self.credentials, self.clock, disk=self.disk, previous=previous
        )

    def write(self, entries: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"other": BESIDE, **entries}))

    def read(self, key: str = "openai") -> dict[str, Any]:
        found = json.loads(self.file.read_text())
        assert found["other"] == BESIDE
        entry: dict[str, Any] = found[key]
        return entry

    def credential(self, provider: str = "chatgpt") -> Credential:
        found = self.credentials.get(providers.known()[provider])
        assert found is not None
        return found

    def round(self, endpoint: Endpoint) -> None:
        asyncio.run(self.refresher.round(endpoint.send))

    def names(self) -> list[str]:
        return sorted(kind(it) for it in self.file.parent.iterdir())


FILES = ["auth.json", "auth.json.limit-router.json", "auth.json.limit-router.lock"]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, {"openai": entry()})


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a file tells nobody of its change
            await asyncio.sleep(0.005)


# What is renewed, and when


def test_a_sign_in_about_to_expire_is_renewed_and_written_back(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.write({"openai": entry(x=[1])})
    endpoint = Endpoint()
    rig.round(endpoint)
    expires = int((NOW + 3600) * 1000)
    assert rig.read() == entry(x=[1]) | {
        "access": "acc-1",
        "refresh": "ref-1",
        "expires": expires,
    }
    credential = rig.credential()
    assert (credential.secret, credential.refresh) == (Secret("acc-1"), Secret("ref-1"))
    assert credential.expires_at == NOW + 3600
    assert rig.names() == FILES
    [request] = endpoint.asked
    assert (request.host, request.port, request.path) == ("127.0.0.1", 9, "/oauth/token")
    assert caplog.messages == ["limit-router: ChatGPT: the sign-in was renewed, for 1 h 0 min"]


@pytest.mark.parametrize(
    ("before", "due"),
    [(MARGIN_S + 1, False), (MARGIN_S, True), (1, True), (0, True), (-86400.0, True)],
)
def test_it_is_due_minutes_before_its_end_and_ever_after(
    tmp_path: Path,
    before: float,
    due: bool,  # noqa: FBT001
) -> None:
    rig, endpoint = Rig(tmp_path, {"openai": entry(before)}), Endpoint()
    rig.round(endpoint)
    assert len(endpoint.asked) == due


NEVER: dict[str, tuple[dict[str, Any], dict[str, str], str | None]] = {
    "it does not expire": ({"openai": entry() | {"expires": 0}}, {}, None),
    "it is a key": ({"openai": {"type": "api", "key": "k"}, "anthropic": BESIDE}, {}, None),
    "Copilot's does not expire": ({"github-copilot": entry()}, {}, None),
    "it has no refresh token": ({"openai": entry(refresh="")}, {}, None),
    "the user has not consented": ({"anthropic": entry()}, {}, "{}"),
    "it is in a variable": (
        {"openai": entry()},
        {"OPENCODE_AUTH_CONTENT": json.dumps({"openai": entry(), "anthropic": entry()})},
        None,
    ),
    "a variable wins over it": ({"anthropic": entry()}, {"ANTHROPIC_API_KEY": "k"}, None),
}


@pytest.mark.parametrize("case", NEVER)
def test_never_renewed(tmp_path: Path, case: str) -> None:
    entries, environ, settings = NEVER[case]
    rig, endpoint = Rig(tmp_path, entries, environ=environ, settings=settings), Endpoint()
    before = rig.file.read_bytes()
    rig.round(endpoint)
    assert (endpoint.asked, rig.file.read_bytes()) == ([], before)
    assert list(renewable(rig.refresher._accounts(), rig.credentials)) == []


def test_the_refresh_token_goes_to_its_own_host_whatever_the_base_url(tmp_path: Path) -> None:
    section = {"base_url": "http://127.0.0.1:7/p", "usage_url": "http://127.0.0.1:7/u"}
    settings = json.dumps({"providers": {"chatgpt": section}})
    rig, endpoint = Rig(tmp_path, {"openai": entry()}, settings=settings), Endpoint()
    rig.round(endpoint)
    assert [it.origin for it in endpoint.asked] == [("https", "auth.openai.com", 443)]


def test_both_sign_ins_of_one_file(tmp_path: Path) -> None:
    rig, endpoint = Rig(tmp_path, {"openai": entry(), "anthropic": entry()}), Endpoint()
    rig.round(endpoint)
    assert sorted(it.path for it in endpoint.asked) == ["/oauth/token", "/v1/oauth/token"]
    assert {rig.read()["refresh"], rig.read("anthropic")["refresh"]} == {"ref-1", "ref-2"}


def test_a_refresh_token_that_does_not_rotate_stays(tmp_path: Path) -> None:
    rig, endpoint = Rig(tmp_path, {"anthropic": entry()}), Endpoint()
    endpoint.rotates = False
    rig.round(endpoint)
    written = rig.file.read_bytes()
    for _ in range(3):
        rig.clock.now += FIRST_RETRY_S
        rig.round(endpoint)
    assert (rig.read("anthropic")["access"], rig.read("anthropic")["refresh"]) == ("acc-1", "ref-0")
    assert (rig.file.read_bytes(), len(endpoint.asked)) == (written, 1)
    rig.write({"anthropic": entry(7200, access="acc-theirs")})
    assert rig.credential("anthropic").secret == Secret("acc-theirs")
    rig.write({"anthropic": entry()})
    assert rig.credential("anthropic").secret == Secret("acc-1")


def test_a_token_that_lasts_no_longer_than_the_margin_is_not_renewed_without_end(rig: Rig) -> None:
    endpoint = Endpoint()
    endpoint.lasts = 60
    for _ in range(3):
        rig.round(endpoint)
    assert len(endpoint.asked) == 1
    rig.clock.now += FIRST_RETRY_S
    rig.round(endpoint)
    assert len(endpoint.asked) == 2


# Whose readings they are


def test_a_renewed_sign_in_stays_the_same_account(tmp_path: Path) -> None:
    rig, endpoint = Rig(tmp_path, {"anthropic": entry()}), Endpoint()
    first = rig.credential("anthropic").sign_in
    for _ in range(3):
        rig.round(endpoint)
        rig.clock.now += 3600
    assert len(endpoint.asked) == 3
    assert rig.credential("anthropic").sign_in == first
    later = Rig(tmp_path)
    assert later.credential("anthropic").sign_in == first, "after a restart"


def test_it_is_no_other_account_for_a_moment_while_it_is_written(tmp_path: Path) -> None:
    seen: set[str] = set()

    class Looking(Disk):
        """Somebody asks for the sign-in at each step."""

        def read(self, file):
            seen.add(rig.credential("anthropic").sign_in)
            return super().read(file)

        def replace(self, new, file):
            seen.add(rig.credential("anthropic").sign_in)
            super().replace(new, file)
            seen.add(rig.credential("anthropic").sign_in)

    rig = Rig(tmp_path, {"anthropic": entry()}, disk=Looking())
    first = rig.credential("anthropic").sign_in
    rig.round(Endpoint())
    assert rig.read("anthropic")["refresh"] == "ref-1"
    assert seen == {first}


def test_also_where_the_account_is_named_from_then_on(rig: Rig) -> None:
    first = rig.credential().sign_in
    said = "eyJjaGF0Z3B0X2FjY291bnRfaWQiOiJhY2MtMSJ9"  # {"chatgpt_account_id":"acc-1"}
    tokens = {"access_token": f"e30.{said}.x", "refresh_token": "ref-9"}
    rig.round(Endpoint(reply(200, tokens)))
    assert rig.read()["accountId"] == "acc-1"
    assert (rig.credential().sign_in, rig.credential().account_id) == (first, "acc-1")


def test_another_sign_in_is_another_account(rig: Rig) -> None:
    first = rig.credential().sign_in
    rig.round(Endpoint())
    rig.write({"openai": entry(refresh="ref-another")})
    assert rig.credential().sign_in != first


# What somebody else does


def test_who_finds_it_renewed_by_another_takes_that(tmp_path: Path) -> None:
    one = Rig(tmp_path, {"openai": entry()})
    other = Rig(tmp_path)
    [stale] = renewable(other.refresher._accounts(), other.credentials)
    endpoint = Endpoint()
    one.round(endpoint)
    asyncio.run(other.refresher._renew(stale, endpoint.send))
    assert len(endpoint.asked) == 1
    assert other.credential().secret == Secret("acc-1")


def test_while_another_process_renews_it_we_wait(rig: Rig) -> None:
    lock, endpoint = AuthFile(rig.file).lock(), Endpoint()
    assert lock is not None
    rig.round(endpoint)
    assert endpoint.asked == []
    lock.release()
    rig.round(endpoint)
    assert endpoint.asked == [], "it is looked at again in a moment"
    rig.clock.now += BUSY_S
    rig.round(endpoint)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_because_opencode_came_first_is_none(rig: Rig, status: int) -> None:
    async def opencode_writes() -> None:
        rig.write({"openai": entry(7200, refresh="ref-theirs", access="acc-theirs")})

    endpoint = Endpoint(reply(status, REUSED))
    endpoint.on_ask = opencode_writes
    rig.round(endpoint)
    assert not rig.credentials.is_signed_out(rig.credential())
    assert rig.credential().secret == Secret("acc-theirs")


def test_a_sign_in_made_while_we_asked_is_kept(rig: Rig) -> None:
    async def user_signs_in() -> None:
        rig.write({"openai": entry(7200, refresh="ref-theirs", access="acc-theirs")})

    endpoint = Endpoint()
    endpoint.on_ask = user_signs_in
    rig.round(endpoint)
    assert rig.read()["refresh"] == "ref-theirs"
    assert rig.credential().secret == Secret("acc-theirs")
    assert rig.refresher.unwritten == {}


@pytest.mark.parametrize("gone", [{}, {"openai": BESIDE}])
def test_who_signs_out_while_we_ask_stays_signed_out(rig: Rig, gone: dict[str, Any]) -> None:
    async def user_signs_out() -> None:
        rig.write(gone)

    for endpoint in (Endpoint(), Endpoint(reply(400, REUSED))):
        rig.write({"openai": entry()})
        rig.clock.now += 60
        endpoint.on_ask = user_signs_out
        rig.round(endpoint)
        assert len(endpoint.asked) == 1
        assert json.loads(rig.file.read_text()) == {"other": BESIDE, **gone}
        assert rig.credentials.get(providers.known()["chatgpt"]) is None


def test_what_opencode_writes_beside_it_while_we_ask_is_kept(rig: Rig) -> None:
    async def opencode_writes() -> None:
        rig.write({"openai": entry(), "zai": BESIDE})

    endpoint = Endpoint()
    endpoint.on_ask = opencode_writes
    rig.round(endpoint)
    assert (rig.read()["refresh"], rig.read("zai")) == ("ref-1", BESIDE)


# Refusals


@pytest.mark.parametrize(
    ("provider", "key", "body"),
    [("chatgpt", "openai", REUSED), ("anthropic", "anthropic", INVALID)],
)
def test_refused_for_good_it_is_signed_out_until_its_entry_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, provider: str, key: str, body: object
) -> None:
    rig, endpoint = Rig(tmp_path, {key: entry()}), Endpoint(reply(400, body))
    rig.round(endpoint)
    name = providers.known()[provider].name
    assert caplog.messages == [f"limit-router: {name} is signed out: run `opencode auth login`"]
    assert rig.credentials.is_signed_out(rig.credential(provider))
    rig.clock.now += 86400
    rig.round(endpoint)
    later = Rig(tmp_path, clock=rig.clock)
    later.round(endpoint)
    assert len(endpoint.asked) == 1, "a dead token is not asked for again, after a restart neither"
    assert later.credentials.is_signed_out(later.credential(provider))
    rig.write({key: entry(refresh="ref-new")})
    for each in (rig, later):
        assert not each.credentials.is_signed_out(each.credential(provider))


PASSING = {
    "limited": (reply(429, {}), "the token endpoint limits how often it is asked", 30.0),
    "limited for long": (
        reply(429, {}, ("retry-after", "600")),
        "the token endpoint limits how often it is asked",
        600.0,
    ),
    "a fault": (reply(500, INVALID), "the token endpoint answered 500", 30.0),
    "another refusal": (reply(401, {"error": "x"}), "the token endpoint answered 401", 30.0),
    "no answer": (
        UsageError("127.0.0.1 did not answer within 30 s"),
        "127.0.0.1 did not answer within 30 s",
        30.0,
    ),
    "no token": (
        reply(200, {}),
        "the token endpoint answered without a token that can be used",
        30.0,
    ),
}


@pytest.mark.parametrize("case", PASSING)
def test_refused_for_now_it_is_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    answer, said, wait = PASSING[case]
    endpoint = Endpoint(answer)
    rig.round(endpoint)
    minutes = f"{int(wait) // 60} min" if wait >= 60 else "30 s"
    assert caplog.messages == [
        f"limit-router: ChatGPT: the sign-in could not be renewed: {said}; next try in {minutes}"
    ]
    assert rig.read() == entry()
    rig.clock.now += wait - 1
    rig.round(endpoint)
    assert len(endpoint.asked) == 1
    rig.clock.now += 1
    rig.round(endpoint)
    assert rig.read()["access"] == "acc-2"


@given(st.integers(0, 10**6), st.none() | st.floats(0, 1e12))
def test_the_wait_grows_and_is_bounded(failures: int, named: float | None) -> None:
    wait = after_failure(0.0, failures, named)
    assert FIRST_RETRY_S <= wait <= max(LONGEST_RETRY_S, LONGEST_WAIT)
    assert wait >= after_failure(0.0, max(failures - 1, 0), None)
    assert wait >= min(named or 0.0, LONGEST_WAIT)


def test_four_tries_fit_before_the_token_expires() -> None:
    at, tries = 0.0, 0
    while at < MARGIN_S:
        at, tries = after_failure(at, tries, None), tries + 1
    assert tries == 4


# Where it cannot be written


BUSY = "cannot be written (Device or resource busy)"
IN_MEMORY = "limit-router: ChatGPT: its new tokens are in use, and kept in memory alone until"


class Broken(Disk):
    """Refuses to put a file in the place of one of that name, while it is told to."""

    def __init__(self, kind_of: str, *, by: str = "") -> None:
        self.kind, self.by, self.broken = kind_of, by, True

    def replace(self, new, file):
        if self.broken and kind(file) == self.kind and self.by in kind(new):
            raise OSError(16, "Device or resource busy")
        super().replace(new, file)


def test_what_could_not_be_written_is_never_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig, endpoint = Rig(tmp_path, {"openai": entry()}, disk=Broken("auth.json")), Endpoint()
    for _ in range(3):
        rig.round(endpoint)
        rig.clock.now += UNWRITABLE_S
    assert (endpoint.asked, rig.read()) == ([], entry())
    assert rig.names() == ["auth.json", "auth.json.limit-router.lock"]
    assert caplog.messages == [
        f"limit-router: ChatGPT: the sign-in is not renewed, since {rig.file} {BUSY}"
    ], "once"
    lock = AuthFile(rig.file).lock()
    assert lock is not None, "whoever can write it may renew it"
    lock.release()


def test_a_read_only_file_is_never_asked_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.file.chmod(0o400)
    endpoint = Endpoint()
    rig.round(endpoint)
    assert endpoint.asked == []
    assert caplog.messages[0].endswith("cannot be written (it is read-only)")


def test_a_folder_that_has_no_room_for_a_lock(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.file.with_name("auth.json.limit-router.lock").mkdir()
    endpoint = Endpoint()
    rig.round(endpoint)
    assert endpoint.asked == []
    assert "cannot be written (" in caplog.messages[0]


def test_a_file_that_is_no_json_to_edit(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    text = rig.file.read_text()
    rig.file.write_text(f'{text[:-1]}, "a": 1, "a": 2}}')
    endpoint = Endpoint()
    rig.round(endpoint)
    assert endpoint.asked == []
    assert caplog.messages[0].endswith("cannot be written (it is not JSON that can be edited)")


def test_tokens_that_cannot_be_written_are_used_and_written_when_they_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    disk = Broken("auth.json", by="staged")
    rig, endpoint = Rig(tmp_path, {"openai": entry()}, disk=disk), Endpoint()
    sign_in = rig.credential().sign_in
    for _ in range(3):
        rig.round(endpoint)
        rig.clock.now += BUSY_S
    rig.round(endpoint)
    rig.round(endpoint)
    assert (len(endpoint.asked), rig.read()) == (1, entry())
    credential = rig.credential()
    assert (credential.secret, credential.refresh) == (Secret("acc-1"), Secret("ref-1"))
    assert (credential.expires_at, credential.sign_in) == (NOW + 3600, sign_in)
    assert AuthFile(rig.file).lock() is None, "nobody else may ask with the old token"
    disk.broken = False
    rig.clock.now += BUSY_S
    rig.round(endpoint)
    assert (rig.read()["access"], rig.read()["refresh"]) == ("acc-1", "ref-1")
    assert (rig.credential().secret, rig.names()) == (Secret("acc-1"), FILES)
    lock = AuthFile(rig.file).lock()
    assert lock is not None
    lock.release()
    assert caplog.messages == [
        f"{IN_MEMORY} {rig.file} can be written (Device or resource busy)",
        "limit-router: ChatGPT: the sign-in was renewed, for 59 min",
    ]


def test_a_user_who_signs_in_meanwhile_has_the_last_word(tmp_path: Path) -> None:
    disk = Broken("auth.json", by="staged")
    rig = Rig(tmp_path, {"openai": entry()}, disk=disk)
    rig.round(Endpoint())
    rig.write({"openai": entry(7200, refresh="ref-theirs", access="acc-theirs")})
    assert rig.credential().secret == Secret("acc-theirs")
    rig.clock.now += BUSY_S
    rig.round(Endpoint())
    assert (rig.read()["refresh"], rig.refresher.unwritten) == ("ref-theirs", {})


def test_the_one_that_comes_in_its_place_goes_on_with_them(tmp_path: Path) -> None:
    disk = Broken("auth.json", by="staged")
    rig = Rig(tmp_path, {"openai": entry()}, disk=disk)
    rig.round(Endpoint())
    rig.credentials = Credentials({}, tmp_path)
    later = rig.made(previous=rig.refresher)
    asyncio.run(later.round(Endpoint().send))
    assert rig.credential().secret == Secret("acc-1")
    disk.broken = False
    rig.clock.now += BUSY_S
    asyncio.run(later.round(Endpoint().send))
    assert rig.read()["refresh"] == "ref-1"


def test_old_tokens_that_opencode_writes_back_are_replaced_again(rig: Rig) -> None:
    """It had read the file before the new ones were there, and wrote it after."""
    endpoint = Endpoint()
    rig.round(endpoint)
    written = rig.read()
    rig.write({"openai": entry(), "zai": BESIDE})
    assert rig.credential().secret == Secret("acc-1"), "the old one may be dead"
    rig.round(endpoint)
    assert rig.read() == entry(), "it is looked at a little later"
    rig.clock.now += FIRST_RETRY_S
    lock = AuthFile(rig.file).lock()
    assert lock is not None
    rig.round(endpoint)
    assert rig.read() == entry(), "and never without the lock"
    lock.release()
    rig.clock.now += BUSY_S
    rig.round(endpoint)
    assert (rig.read(), rig.read("zai"), len(endpoint.asked)) == (written, BESIDE, 1)
    rig.clock.now += FIRST_RETRY_S
    rig.round(endpoint)
    assert (rig.read(), len(endpoint.asked)) == (written, 1)


def test_tokens_that_an_ended_process_has_left_are_taken_and_nobody_is_asked(rig: Rig) -> None:
    first = rig.credential().sign_in
    left = rig.file.with_name(f"auth.json.limit-router.{token_digest('openai', OLD)}.tmp")
    left.write_text(json.dumps({"openai": entry(3600, access="acc-9", refresh="ref-9")}))
    endpoint = Endpoint()
    rig.round(endpoint)
    assert endpoint.asked == []
    assert (rig.read(), rig.names()) == (entry(3600, access="acc-9", refresh="ref-9"), FILES)
    assert rig.credential().sign_in == first


OLD = Secret("ref-0")


# Its life


def running(rig: Rig, endpoint: Endpoint, then: Callable[[], Awaitable[None]]) -> None:
    """Run until the first round is over, do `then`, cancel."""

    async def main() -> None:
        settled = asyncio.Event()
        task = asyncio.create_task(rig.refresher.run(endpoint.send, settled.set))
        try:
            async with asyncio.timeout(20):
                await settled.wait()
            await then()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_at_start_what_is_due_is_renewed_first(rig: Rig) -> None:
    endpoint = Endpoint()

    async def then() -> None:
        assert rig.credential().secret == Secret("acc-1")

    running(rig, endpoint, then)


def test_a_request_that_finds_it_expired_has_it_renewed_at_once(tmp_path: Path) -> None:
    rig, endpoint = Rig(tmp_path, {"openai": entry(3600)}), Endpoint()

    async def then() -> None:
        assert endpoint.asked == []
        rig.clock.now += 3600
        rig.refresher.hurry()
        await until(lambda: rig.credential().secret == Secret("acc-1"))

    running(rig, endpoint, then)


def test_an_idle_router_sleeps_until_the_next_request(tmp_path: Path) -> None:
    rig = Rig(tmp_path, {"openai": entry(3600)})

    async def main() -> list[bool]:
        timed = []
        for idle_for in (IDLE_AFTER_S, 1.0):
            rig.clock.now += idle_for
            nap = asyncio.create_task(rig.refresher._nap())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            timed.append(bool(asyncio.get_running_loop()._scheduled))  # type: ignore[attr-defined]
            if timed[-1]:
                rig.refresher.hurry()
            else:
                rig.refresher.touch()
            await nap
        return timed

    assert asyncio.run(main()) == [True, False]
    rig.clock.now += 1.0
    assert not rig.refresher._is_idle()
    rig.refresher._wake.clear()
    rig.refresher.touch()
    assert not rig.refresher._wake.is_set(), "a router in use has no need to be woken"


def test_a_router_in_use_wakes_by_itself(tmp_path: Path) -> None:
    rig, endpoint = Rig(tmp_path, {"openai": entry(MARGIN_S + 1)}), Endpoint()

    async def then() -> None:
        assert endpoint.asked == []
        rig.clock.now += 1
        await until(lambda: rig.credential().secret == Secret("acc-1"))

    running(rig, endpoint, then)


def test_being_stopped_waits_for_the_tokens_that_are_on_their_way(rig: Rig) -> None:
    endpoint = Endpoint()

    async def main() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def slowly() -> None:
            asked.set()
            await go.wait()

        endpoint.on_ask = slowly
        task = asyncio.create_task(rig.refresher.run(endpoint.send, lambda: None))
        await asked.wait()
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert (rig.read()["access"], rig.read()["refresh"]) == ("acc-1", "ref-1")


def test_being_stopped_it_writes_what_it_could_not_write_before(tmp_path: Path) -> None:
    disk = Broken("auth.json", by="staged")
    rig, endpoint = Rig(tmp_path, {"openai": entry()}, disk=disk), Endpoint()

    async def then() -> None:
        assert rig.read() == entry()
        disk.broken = False

    running(rig, endpoint, then)
    assert rig.read()["refresh"] == "ref-1"


def test_what_it_cannot_write_at_the_end_it_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, {"openai": entry()}, disk=Broken("auth.json", by="staged"))

    async def then() -> None:
        pass

    running(rig, Endpoint(), then)
    assert caplog.messages[-1] == (
        "limit-router: ChatGPT: its new tokens could not be written; after the end of this process "
        "sign in again with `opencode auth login`"
    )
    for held in rig.refresher.unwritten.values():
        held.lock.release()


def test_no_token_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    disk = Broken("auth.json", by="staged")
    rig = Rig(tmp_path, {"openai": entry(), "anthropic": entry()}, disk=disk)
    endpoint = Endpoint(reply(200, {"access_token": "acc SECRET"}))
    rig.round(endpoint)
    rig.clock.now += 60
    rig.round(endpoint)
    shown = [*caplog.messages, repr(rig.refresher.unwritten), repr(endpoint.asked)]
    shown += [repr(list(renewable(rig.refresher._accounts(), rig.credentials)))]
    shown += [repr(rig.credential()), repr(rig.credentials._kept)]
    disk.broken = False
    rig.clock.now += 60
    rig.round(endpoint)
    shown += [it.read_text() for it in rig.file.parent.iterdir() if it.name.endswith(".json.json")]
    shown += [rig.file.with_name("auth.json.limit-router.json").read_text()]
    shown += [it.name for it in rig.file.parent.iterdir()]
    assert [it for it in shown if any(t in it for t in ("acc-", "ref-", "SECRET"))] == []
