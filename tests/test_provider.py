import pytest

from core import providers
from core.model import HttpRequest
from core.provider import Provider, get, header, header_list, no_limits

HEADERS = (("A", "1, 2"), ("b", "x"), ("a", "3,,  "), ("B", "y"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h.example/v1/u", HttpRequest("GET", "https", "h.example", 443, "/v1/u")),
        ("https://h.example", HttpRequest("GET", "https", "h.example", 443, "/")),
        ("http://127.0.0.1/x?a=b&c", HttpRequest("GET", "http", "127.0.0.1", 80, "/x?a=b&c")),
        ("http://[::1]:8443/x", HttpRequest("GET", "http", "::1", 8443, "/x")),
    ],
)
def test_a_get_of_a_complete_url(url: str, expected: HttpRequest) -> None:
    assert get(url, ()) == expected


def test_a_get_carries_its_headers() -> None:
    assert get("https://h.example/", (("A", "1"),)).headers == (("A", "1"),)


def test_the_first_field_of_a_name_whatever_its_case() -> None:
    assert (header(HEADERS, "b"), header(HEADERS, "c")) == ("x", None)


def test_a_list_is_read_from_all_its_fields() -> None:
    assert (header_list(HEADERS, "a"), header_list(HEADERS, "c")) == (["1", "2", "3"], [])


def test_a_provider_without_limits_in_its_headers_reads_none() -> None:
    assert no_limits((("x-quota", "1"),), 0.0) == ()


@pytest.mark.parametrize("provider", providers.known().values(), ids=lambda it: it.id)
def test_a_provider_file_is_whole(provider: Provider) -> None:
    endpoints = provider.endpoints(None)
    assert providers.known()[provider.id] is provider
    assert all(path.startswith("/") for path in provider.paths.values())
    assert endpoints.base_url.startswith("https://")
    assert not endpoints.base_url.endswith("/")
    assert provider.usage_interval_s >= 300, "PROVIDERS A.1, A.2: five minutes is safe"


def test_the_providers_are_found_by_looking() -> None:
    assert sorted(providers.known()) == [
        *("anthropic", "chatgpt", "github-copilot", "google", "openai", "opencode"),
        *("opencode-go", "openrouter", "zai"),
    ]
    assert providers.routable() == ("anthropic", "github-copilot")
