import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.authfile import token_digest
from core.credentials import Credentials, data_home, sign_in_digest
from core.model import AccountKind, Credential, CredentialType, Secret
from core.provider import Endpoints, Provider, Renewed

PLACE = "/home/u/.local/share"
FILE = f"{PLACE}/opencode/auth.json"


def provider(**facts: Any) -> Provider:
    given_facts: dict[str, Any] = {
        "id": "example",
        "name": "Example",
        "endpoints": lambda _: Endpoints("https://example.com", None),
        "paths": {},
        "env": ("EXAMPLE_KEY", "EXAMPLE_TOKEN"),
        "opencode_keys": ("example", "example-old"),
        "opencode_token": lambda entry: entry.get("access"),
        "kind": lambda _: AccountKind.SUBSCRIPTION,
        "opt_in": lambda _: None,
        "authorize": lambda _: (),
        "model_id": str,
    }
    return Provider(**{**given_facts, **facts})


EXAMPLE = provider()
API = {"type": "api", "key": "key-1"}
OAUTH = {"type": "oauth", "access": "acc-1", "refresh": "ref-1", "expires": 0}


def write(home: Path, content: Any) -> Path:
    file = home / "opencode" / "auth.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def held(content: Any, environ: Mapping[str, str] | None = None) -> Credentials:
    """Sign-ins from OPENCODE_AUTH_CONTENT."""
    text = content if isinstance(content, str) else json.dumps(content)
    return Credentials({"OPENCODE_AUTH_CONTENT": text, **(environ or {})}, Path(PLACE))


def token(credentials: Credentials, of: Provider = EXAMPLE) -> str | None:
    found = credentials.get(of)
    return None if found is None else found.secret.reveal()


def problems(credentials: Credentials) -> list[str]:
    return [str(problem) for problem in credentials.problems]


def test_where_opencode_keeps_its_data() -> None:
    home = Path("/home/u")
    assert data_home({}, home) == Path("/home/u/.local/share")
    assert data_home({"XDG_DATA_HOME": ""}, home) == Path("/home/u/.local/share")
    assert data_home({"XDG_DATA_HOME": "/data"}, home) == Path("/data")


def test_nothing_anywhere(tmp_path: Path) -> None:
    credentials = Credentials({}, tmp_path)
    assert credentials.get(EXAMPLE) is None
    assert credentials.problems == ()


# The order of sources


def test_the_first_variable_that_is_set_wins(tmp_path: Path) -> None:
    write(tmp_path, {"example": API})
    environ = {"EXAMPLE_KEY": " ", "EXAMPLE_TOKEN": " tok \n"}
    found = Credentials(environ, tmp_path).get(EXAMPLE)
    assert found is not None
    assert (found.type, found.secret.reveal(), found.source) == (
        CredentialType.API,
        "tok",
        "EXAMPLE_TOKEN",
    )
    assert token(Credentials({**environ, "EXAMPLE_KEY": "key"}, tmp_path)) == "key"
    assert token(Credentials({}, tmp_path)) == "key-1"


def test_the_type_of_a_variable_is_the_providers_fact() -> None:
    found = Credentials({"EXAMPLE_KEY": "x"}, Path(PLACE)).get(
        provider(env_type=CredentialType.OAUTH)
    )
    assert found is not None
    assert found.type is CredentialType.OAUTH


def test_auth_content_replaces_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"example": API})
    content = {"OPENCODE_AUTH_CONTENT": json.dumps({"other": API})}
    assert token(Credentials(content, tmp_path)) is None
    assert token(Credentials({"OPENCODE_AUTH_CONTENT": ""}, tmp_path)) == "key-1"


def test_broken_auth_content_is_named_and_the_file_is_used(tmp_path: Path) -> None:
    write(tmp_path, {"example": API})
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": "{"}, tmp_path)
    assert token(credentials) == "key-1"
    assert problems(credentials) == ["OPENCODE_AUTH_CONTENT: is not JSON (line 1, column 2)."]


def test_a_broken_file_beside_auth_content_is_nobodys_business(tmp_path: Path) -> None:
    write(tmp_path, "{")
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": '{"example/": {}}'}, tmp_path)
    assert token(credentials) is None
    assert credentials.problems == ()


def test_what_is_looked_at() -> None:
    def sources(environ: Mapping[str, str], of: Provider = EXAMPLE) -> tuple[str, ...]:
        return Credentials(environ, Path(PLACE)).sources(of)

    variables = ("EXAMPLE_KEY", "EXAMPLE_TOKEN")
    assert sources({}) == (*variables, FILE)
    assert sources({"OPENCODE_AUTH_CONTENT": "{}"}) == (*variables, "OPENCODE_AUTH_CONTENT")
    assert sources({"OPENCODE_AUTH_CONTENT": "{"}) == (*variables, "OPENCODE_AUTH_CONTENT", FILE)
    assert sources({}, provider(opencode_keys=())) == variables


def test_a_provider_that_opencode_does_not_know_is_not_looked_up() -> None:
    assert token(held({"": API}), provider(opencode_keys=())) is None


# Entries


def test_an_api_entry() -> None:
    found = held({"example": {**API, "metadata": {"a": 1}}}).get(EXAMPLE)
    assert found is not None
    assert (found.type, found.secret.reveal(), found.source, found.expires_at) == (
        CredentialType.API,
        "key-1",
        "OPENCODE_AUTH_CONTENT",
        None,
    )


def test_an_oauth_entry() -> None:
    entry = {**OAUTH, "expires": 1767407914500, "enterpriseUrl": "company.ghe.com", "n": 1}
    found = held({"example": entry}).get(EXAMPLE)
    assert found is not None
    assert (found.type, found.secret.reveal(), found.expires_at, found.enterprise_host) == (
        CredentialType.OAUTH,
        "acc-1",
        1767407914.5,
        "company.ghe.com",
    )


def test_an_expiry_of_zero_is_none() -> None:
    found = held({"example": OAUTH}).get(EXAMPLE)
    assert found is not None
    assert found.expires_at is None
    assert found.enterprise_host is None


def test_the_provider_picks_the_token_from_the_entrys_text() -> None:
    seen: list[Mapping[str, str]] = []

    def pick(entry: Mapping[str, str]) -> str | None:
        seen.append(dict(entry))
        return entry["refresh"]

    assert token(
        held({"example": {**OAUTH, "x": "y", "z": [1]}}), provider(opencode_token=pick)
    ) == ("ref-1")
    assert seen == [{"type": "oauth", "access": "acc-1", "refresh": "ref-1", "x": "y"}]


@pytest.mark.parametrize("picked", [None, ""])
def test_an_entry_without_the_token(picked: str | None) -> None:
    credentials = held({"example": OAUTH, "example-old": API})
    assert token(credentials, provider(opencode_token=lambda _: picked)) == "key-1"
    assert credentials.problems == ()


@pytest.mark.parametrize("key", ["example", "example/", "example//", "example-old/"])
def test_keys_lose_their_trailing_slashes(key: str) -> None:
    assert token(held({key: API})) == "key-1"


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "key-1",
        [],
        {},
        {"type": "api"},
        {"type": "api", "key": 1},
        {"type": "wellknown", "key": "A", "token": "t"},
        {"key": "key-1"},
        {**OAUTH, "expires": "0"},
        {**OAUTH, "expires": True},
        {**OAUTH, "expires": float("nan")},
        {**OAUTH, "expires": float("inf")},
        {**OAUTH, "access": None},
        {"type": "oauth", "access": "a", "refresh": "b"},
        {**OAUTH, "accountId": 4},
    ],
)
def test_malformed_entries_are_passed_over(entry: Any) -> None:
    credentials = held({"example": entry, "example-old": {"type": "api", "key": "old"}})
    assert token(credentials) == "old"
    assert credentials.problems == ()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("company.ghe.com", "company.ghe.com"),
        ("https://company.ghe.com", "company.ghe.com"),
        ("https://Company.GHE.com/", "company.ghe.com"),
        (" http://company.ghe.com ", "company.ghe.com"),
        ("intranet", "intranet"),
        ("", None),
    ],
)
def test_enterprise_hosts(url: str, host: str | None) -> None:
    found = held({"example": {**OAUTH, "enterpriseUrl": url}}).get(EXAMPLE)
    assert found is not None
    assert found.enterprise_host == host


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        " ",
        "a b",
        "evil.com/x",
        "evil.com#",
        "evil.com?x",
        "me@evil.com",
        "evil.com:8443",
        "evil..com",
        "-evil.com",
        "evil.com.",
        "évil.com",
        "10.0.0.1",
        "[::1]",
        "evil.com\n.ghe.com",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "ftp://evil.com",
    ],
)
def test_a_sign_in_at_no_host_is_refused_and_goes_nowhere_else(url: str) -> None:
    credentials = held({"example": {**OAUTH, "enterpriseUrl": url}})
    assert token(credentials) is None
    assert problems(credentials) == [
        "OPENCODE_AUTH_CONTENT: `enterpriseUrl` of example is not a host name."
    ]


# Tokens that no header can carry


@pytest.mark.parametrize("bad", ["a b", "a\nb", "a\tb", "a\x7f", "\x00", "tökén", "a\u2028"])
def test_a_token_that_no_header_can_carry_is_refused(bad: str) -> None:
    why = (
        "the token for example holds a space, a line end or another character "
        "that no header can carry."
    )
    credentials = held({"example": {"type": "api", "key": bad}}, {"EXAMPLE_KEY": f"x{bad}x"})
    assert token(credentials) is None
    assert problems(credentials) == [f"EXAMPLE_KEY: {why}", f"OPENCODE_AUTH_CONTENT: {why}"]
    oauth = held({"example": {**OAUTH, "access": bad}})
    assert token(oauth) is None
    assert problems(oauth) == [f"OPENCODE_AUTH_CONTENT: {why}"]


def test_another_source_is_used_in_its_place() -> None:
    credentials = held({"example": API}, {"EXAMPLE_KEY": "a b"})
    assert token(credentials) == "key-1"
    assert len(credentials.problems) == 1


# The file


def test_read_again_when_it_changes(tmp_path: Path) -> None:
    credentials = Credentials({}, tmp_path)
    assert token(credentials) is None
    file = write(tmp_path, {"example": API})
    assert token(credentials) == "key-1"
    file.write_text(json.dumps({"example": {"type": "api", "key": "key-22"}}))
    assert token(credentials) == "key-22"
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"example": {"type": "api", "key": "key-33"}}))
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert token(credentials) == "key-33", "same size and time, another file"
    file.unlink()
    assert token(credentials) is None
    assert credentials.problems == ()


def test_not_read_again_when_it_does_not(tmp_path: Path) -> None:
    credentials = Credentials({}, tmp_path)
    file = write(tmp_path, {"example": API})
    assert token(credentials) == "key-1"
    status = file.stat()
    with file.open("r+") as opened:
        opened.write(json.dumps({"example": {"type": "api", "key": "key-9"}}))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert token(credentials) == "key-1"


BROKEN = {
    '{"example": {"type": "api",\n "key": "hunter2"': "is not JSON (line 2, column 18)",
    '{"example": hunter2}': "is not JSON (line 1, column 13)",
    '"hunter2"': "holds no JSON object of sign-ins",
    "[]": "holds no JSON object of sign-ins",
    "[" * 200_000: "is not JSON that can be read (nested too deeply, or a number too long)",
    "9" * 5000: "is not JSON that can be read (nested too deeply, or a number too long)",
    " " * (4 * 2**20 + 1): "is larger than 4 MB",
}


@pytest.mark.parametrize("content", BROKEN, ids=list(BROKEN.values()))
def test_a_broken_file_is_named_and_never_written(content: str, tmp_path: Path) -> None:
    file = write(tmp_path, content)
    credentials = Credentials({"EXAMPLE_KEY": "key"}, tmp_path)
    assert token(credentials) == "key"
    assert token(credentials, provider(env=())) is None
    assert problems(credentials) == [f"{file}: {BROKEN[content]}."]
    assert file.read_text() == content
    write(tmp_path, {"example": API})
    assert token(credentials, provider(env=())) == "key-1"
    assert credentials.problems == ()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    file.write_bytes(b'{"example": "\xff"}')
    assert problems(Credentials({}, tmp_path)) == [f"{file}: is not UTF-8 text."]


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    write(tmp_path, "")
    assert problems(Credentials({}, tmp_path)) == []


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "opencode" / "auth.json").mkdir(parents=True)
    assert problems(Credentials({}, tmp_path)) == [
        f"{tmp_path}/opencode/auth.json: is not a regular file."
    ]


def test_a_file_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "opencode").symlink_to(tmp_path / "opencode")
    credentials = Credentials({}, tmp_path)
    assert token(credentials) is None
    assert problems(credentials) == [
        f"{tmp_path}/opencode/auth.json: cannot be read (Too many levels of symbolic links)."
    ]
    assert problems(Credentials({}, Path("nul\0"))) == [
        "nul\0/opencode/auth.json: cannot be read (not a path)."
    ]


def test_a_file_in_place_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "opencode").write_text("")
    assert problems(Credentials({}, tmp_path)) == []


# Sign-ins


def sign_in(entry: Mapping[str, Any], of: Provider = EXAMPLE) -> str:
    found = held({"example": entry}).get(of)
    assert found is not None
    return found.sign_in


def test_a_sign_in_is_told_by_what_stays_when_tokens_are_renewed() -> None:
    assert len(sign_in(API)) == 12
    assert int(sign_in(API), 16) >= 0
    assert sign_in(API) == sign_in({**API, "metadata": {}})
    assert sign_in(API) != sign_in({**API, "key": "key-2"})
    assert sign_in(API) != sign_in(API, provider(id="other"))
    assert sign_in(OAUTH) == sign_in({**OAUTH, "access": "acc-2", "expires": 9})
    assert sign_in(OAUTH) != sign_in({**OAUTH, "refresh": "ref-2"})
    account = {**OAUTH, "accountId": "me"}
    assert sign_in(account) == sign_in({**account, "access": "acc-2", "refresh": "ref-2"})
    assert sign_in(account) != sign_in({**account, "accountId": "you"})
    lone = {**OAUTH, "refresh": ""}
    assert sign_in(lone) != sign_in({**lone, "access": "acc-2"})
    by_variable = Credentials({"EXAMPLE_KEY": "key-1"}, Path(PLACE)).get(EXAMPLE)
    assert by_variable is not None
    assert by_variable.sign_in == sign_in(API)


# Sign-ins that can be renewed


RENEWED = Renewed(Secret("acc-2"), Secret("ref-2"), 5.0)


def signed_in(home: Path, entry: Mapping[str, Any] = OAUTH) -> Credentials:
    write(home, {"example/": entry})
    return Credentials({}, home)


def found_in(credentials: Credentials) -> Credential:
    found = credentials.get(EXAMPLE)
    assert found is not None
    return found


def test_a_sign_in_in_the_file_says_how_it_is_renewed(tmp_path: Path) -> None:
    credentials = signed_in(tmp_path)
    assert credentials.file == tmp_path / "opencode" / "auth.json"
    found = found_in(credentials)
    assert (found.refresh, found.entry) == (Secret("ref-1"), "example")


def test_what_cannot_be_renewed_says_so(tmp_path: Path) -> None:
    elsewhere = held({"example": OAUTH}), Credentials({"EXAMPLE_KEY": "k"}, tmp_path)
    for credentials in (*elsewhere, signed_in(tmp_path, API)):
        found = found_in(credentials)
        assert (found.refresh, found.entry) == (None, None)
        assert not credentials.is_signed_out(found)
    found = found_in(signed_in(tmp_path, {**OAUTH, "refresh": ""}))
    assert (found.refresh, found.entry) == (None, None)


def test_new_tokens_are_used_before_the_file_has_them(tmp_path: Path) -> None:
    credentials = signed_in(tmp_path)
    before = found_in(credentials)
    credentials.keep("example", Secret("ref-1"), RENEWED)
    found = found_in(credentials)
    assert (found.secret, found.refresh) == (Secret("acc-2"), Secret("ref-2"))
    assert (found.expires_at, found.entry) == (5.0, "example")
    assert (credentials.is_ahead("example"), credentials.is_ahead("other")) == (True, False)
    credentials.let_go("example")
    assert not credentials.is_ahead("example")
    credentials.let_go("example")
    assert found_in(credentials) == before


def test_a_refresh_token_that_stays_and_an_account_that_is_named(tmp_path: Path) -> None:
    credentials = signed_in(tmp_path)
    credentials.keep("example", Secret("ref-1"), Renewed(Secret("acc-2"), None, 5.0, "me"))
    found = found_in(credentials)
    assert (found.secret, found.refresh, found.account_id) == (
        Secret("acc-2"),
        Secret("ref-1"),
        "me",
    )
    write(tmp_path, {"example": {**OAUTH, "accountId": "you"}})
    assert found_in(credentials).account_id == "you"


@pytest.mark.parametrize("entry", [{**OAUTH, "refresh": "ref-3"}, API, "x", None])
def test_what_the_file_has_been_given_since_wins(tmp_path: Path, entry: Any) -> None:
    credentials = signed_in(tmp_path)
    credentials.keep("example", Secret("ref-1"), RENEWED)
    write(tmp_path, {"example": entry})
    assert credentials.get(EXAMPLE) == Credentials({}, tmp_path).get(EXAMPLE)


def test_a_variable_that_replaces_the_file_is_not_mixed_with_it(tmp_path: Path) -> None:
    credentials = held({"example": OAUTH})
    credentials.keep("example", Secret("ref-1"), RENEWED)
    assert token(credentials) == "acc-1"


def test_a_sign_in_is_known_by_the_name_that_it_had_first(tmp_path: Path) -> None:
    credentials = signed_in(tmp_path)
    first = found_in(credentials).sign_in
    credentials.notes.go_on(first, sign_in_digest("example", "ref-2"))
    write(tmp_path, {"example": {**OAUTH, "refresh": "ref-2"}})
    assert found_in(credentials).sign_in == first
    assert sign_in({**OAUTH, "refresh": "ref-2"}) != first, "in a variable it is another"


def test_signed_out_it_is_until_its_refresh_token_is_another(tmp_path: Path) -> None:
    credentials = signed_in(tmp_path)
    assert not credentials.is_signed_out(found_in(credentials))
    credentials.notes.refuse(token_digest("example", Secret("ref-1")))
    credentials.notes.save()
    assert credentials.is_signed_out(found_in(credentials))
    assert Credentials({}, tmp_path).is_signed_out(found_in(credentials))
    write(tmp_path, {"example": {**OAUTH, "refresh": "ref-2"}})
    assert not credentials.is_signed_out(found_in(credentials))


# Secrets, and whatever it is thrown


def test_no_secret_is_shown(tmp_path: Path) -> None:
    write(tmp_path, {"example": {**OAUTH, "access": "hunter2", "refresh": "hunter3"}})
    credentials = Credentials({}, tmp_path)
    shown = f"{credentials.get(EXAMPLE)!r} {credentials!r} {credentials._held!r}"
    assert "hunter" not in shown
    assert "Secret(…)" in shown


def test_no_secret_is_in_a_traceback(tmp_path: Path) -> None:
    def explode(_: Mapping[str, str]) -> str:
        raise ZeroDivisionError

    write(tmp_path, {"example": {**OAUTH, "access": "hunter2", "refresh": "hunter3"}})
    with pytest.raises(ZeroDivisionError) as caught:
        Credentials({}, tmp_path).get(provider(opencode_token=explode))
    assert "hunter" not in "".join(traceback.format_exception(caught.value))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_ENTRIES = st.fixed_dictionaries(
    {"type": st.sampled_from(["api", "oauth", "wellknown"])},
    optional={
        name: _JSON | st.just("tok")
        for name in ("key", "access", "refresh", "expires", "accountId", "enterpriseUrl")
    },
)


def _anything(content: str) -> None:
    credentials = held(content)
    found = credentials.get(EXAMPLE)
    assert found is None or isinstance(found, Credential)
    for problem in credentials.problems:
        assert str(problem).startswith(("OPENCODE_AUTH_CONTENT: ", FILE))


@settings(deadline=None)
@given(st.text())
@example('{"example": {"type": "oauth", "access": "a", "refresh": "\\ud800", "expires": 1}}')
@example('{"example": {"type": "oauth", "access": "a", "refresh": "", "expires": 1e999}}')
@example(
    '{"example": {"type": "oauth", "access": "a", "refresh": "", "expires": 1' + "0" * 400 + "}}"
)
def test_any_text_is_sign_ins_or_a_problem(content: str) -> None:
    _anything(content)


@settings(deadline=None)
@given(_JSON | st.dictionaries(st.sampled_from(["example", "example-old/"]), _ENTRIES))
def test_any_json_is_sign_ins_or_a_problem(content: Any) -> None:
    _anything(json.dumps(content))


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_file_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    home = tmp_path_factory.mktemp("home")
    write(home, "").write_bytes(raw)
    credentials = Credentials({}, home)
    assert credentials.get(EXAMPLE) is None
    assert len(credentials.problems) <= 1


def test_a_file_that_is_being_written_loses_no_sign_in(tmp_path: Path) -> None:
    file = write(tmp_path, {"example": API})
    credentials = Credentials({}, tmp_path)
    assert token(credentials) == "key-1"
    file.write_text('{"example": {"type": "api", "k')
    assert token(credentials) == "key-1"
    assert problems(credentials) == [f"{file}: is not JSON (line 1, column 29)."]
    write(tmp_path, {"example": API | {"key": "key-22"}})
    assert token(credentials) == "key-22"
    assert problems(credentials) == []
    write(tmp_path, {})
    assert token(credentials) is None
