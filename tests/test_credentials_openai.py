"""One key in OpenCode's auth.json, two providers: OpenAI's API key and ChatGPT's sign-in."""

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.credentials import Credentials
from core.model import Credential, CredentialType
from core.provider import Provider
from core.providers import google, known
from core.providers.chatgpt import PROVIDER as CHATGPT
from core.providers.openai import PROVIDER as OPENAI

TOKEN = "sk-SECRET"
API = {"type": "api", "key": TOKEN}
OAUTH = {
    "type": "oauth",
    "access": TOKEN,
    "refresh": "rt-SECRET",
    "expires": 1767407914000,
    "accountId": "acc-1",
}


def found(of: Provider, entry: Any, **environ: str) -> Credential | None:
    content = json.dumps({"openai": entry, "google": entry})
    return Credentials({"OPENCODE_AUTH_CONTENT": content, **environ}, Path("/nowhere")).get(of)


def test_a_key_is_openais() -> None:
    credential = found(OPENAI, API)
    assert credential is not None
    assert (credential.type, credential.secret.reveal()) == (CredentialType.API, TOKEN)
    assert found(CHATGPT, API) is None


def test_a_sign_in_is_chatgpts_with_its_account() -> None:
    credential = found(CHATGPT, OAUTH)
    assert credential is not None
    assert (credential.type, credential.secret.reveal()) == (CredentialType.OAUTH, TOKEN)
    assert (credential.account_id, credential.expires_at) == ("acc-1", 1767407914.0)
    assert found(OPENAI, OAUTH) is None


def test_without_an_account_none_is_named() -> None:
    bare = {key: value for key, value in OAUTH.items() if key != "accountId"}
    for entry in (bare, OAUTH | {"accountId": ""}, OAUTH | {"accountId": None}):
        credential = found(CHATGPT, entry)
        assert credential is not None
        assert credential.account_id is None


def test_the_variable_is_openais_beside_a_sign_in() -> None:
    credential = found(OPENAI, OAUTH, OPENAI_API_KEY="sk-other")
    assert credential is not None
    assert credential.secret.reveal() == "sk-other"
    signed_in = found(CHATGPT, OAUTH, OPENAI_API_KEY="sk-other")
    assert signed_in is not None
    assert signed_in.secret.reveal() == TOKEN


@pytest.mark.parametrize("account", ["acc\r\nx-evil: 1", "a b", "ä"])
def test_an_account_that_no_header_can_carry_is_refused(account: str) -> None:
    content = json.dumps({"openai": OAUTH | {"accountId": account}})
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": content}, Path("/nowhere"))
    assert credentials.get(CHATGPT) is None
    assert [str(problem) for problem in credentials.problems] == [
        "OPENCODE_AUTH_CONTENT: `accountId` of chatgpt is not what a header carries."
    ]


def test_code_assists_sign_in_is_not_geminis_key() -> None:
    assert found(google.PROVIDER, OAUTH) is None
    assert found(google.PROVIDER, API) is not None
    first = found(google.PROVIDER, API, GEMINI_API_KEY="a", GOOGLE_GENERATIVE_AI_API_KEY="b")
    assert first is not None
    assert first.secret.reveal() == "a"


KEYS: Mapping[str, tuple[str, ...]] = {
    "openrouter": ("openrouter",),
    "zai": ("zai-coding-plan", "zai"),
    "opencode": ("opencode",),
    "opencode-go": ("opencode-go",),
}


@pytest.mark.parametrize(
    ("provider", "key"), [(p, key) for p, keys in KEYS.items() for key in keys]
)
def test_every_other_key_is_one_providers(provider: str, key: str) -> None:
    content = json.dumps({key: API})
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": content}, Path("/nowhere"))
    assert [it for it, facts in known().items() if credentials.get(facts)] == [provider]
    signed_in = json.dumps({key: OAUTH})
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": signed_in}, Path("/nowhere"))
    assert credentials.get(known()[provider]) is None


VARIABLES = {
    "OPENAI_API_KEY": "openai",
    "OPENROUTER_API_KEY": "openrouter",
    "GEMINI_API_KEY": "google",
    "GOOGLE_GENERATIVE_AI_API_KEY": "google",
    "ZAI_API_KEY": "zai",
    "OPENCODE_API_KEY": "opencode",
    "OPENCODE_GO_API_KEY": "opencode-go",
}


@pytest.mark.parametrize(("variable", "provider"), VARIABLES.items())
def test_every_variable_is_one_providers(variable: str, provider: str) -> None:
    credentials = Credentials({variable: TOKEN}, Path("/nowhere"))
    assert [it for it, facts in known().items() if credentials.get(facts)] == [provider]


@pytest.mark.parametrize("provider", known().values(), ids=lambda it: it.id)
def test_a_secret_never_shows(provider: Provider) -> None:
    entries = dict.fromkeys(provider.opencode_keys, API) | dict.fromkeys(["openai"], OAUTH)
    for content in (entries, dict.fromkeys(provider.opencode_keys, API)):
        text = json.dumps(content)
        credentials = Credentials({"OPENCODE_AUTH_CONTENT": text}, Path("/nowhere"))
        credential = credentials.get(provider)
        if credential is None:
            continue
        shown = f"{credential!r} {credentials!r} {provider.endpoints(credential)!r}"
        if provider.usage is not None:
            url = provider.endpoints(credential).usage_url or ""
            flow = provider.usage(url, credential, 1.0)
            shown += repr(next(flow))
            try:
                flow.throw(ZeroDivisionError())
            except ZeroDivisionError as error:
                shown += "".join(traceback.format_exception(error))
        assert "SECRET" not in shown
