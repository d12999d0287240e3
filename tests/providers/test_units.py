"""A.8 and B: one quarter used until the first of August, as each provider spells it."""

from collections.abc import Mapping
from urllib.parse import quote

import pytest
from asking import read

from core.model import Source
from core.providers import known

NOW = 1_784_900_000.0
AUGUST = 1785542400.0
"""2026-08-01."""
SEATS = {"entitlement": 300, "percent_remaining": 75.0, "quota_reset_at": 1785542400}
CODEX = {"used_percent": 25, "limit_window_seconds": 18000, "reset_at": 1785542400}
GLM = {"type": "TOKENS_LIMIT", "unit": 3, "number": 5, "percentage": 25}

BODIES: Mapping[str, tuple[str, object]] = {
    "Anthropic: 0 to 100 used, RFC 3339 with microseconds and an offset": (
        "anthropic",
        {"five_hour": {"utilization": 25.0, "resets_at": "2026-08-01T02:00:00.000000+02:00"}},
    ),
    "Anthropic's limits: the same": (
        "anthropic",
        {
            "limits": [
                {
                    "kind": "weekly_scoped",
                    "percent": 25,
                    "scope": "opus",
                    "resets_at": "2026-08-01T00:00:00+00:00",
                }
            ]
        },
    ),
    "Copilot: 0 to 100 remaining, epoch seconds": (
        "github-copilot",
        {"quota_snapshots": {"premium_interactions": SEATS}},
    ),
    "Copilot: a date": (
        "github-copilot",
        {
            "quota_snapshots": {"premium_interactions": SEATS | {"quota_reset_at": 0}},
            "quota_reset_date": "2026-08-01",
        },
    ),
    "Copilot's free seats: what is left of how many": (
        "github-copilot",
        {
            "limited_user_quotas": {"chat": 375},
            "monthly_quotas": {"chat": "500"},
            "limited_user_reset_date": "2026-08-01",
        },
    ),
    "Codex: 0 to 100 used, epoch seconds": ("chatgpt", {"rate_limit": {"primary_window": CODEX}}),
    "OpenRouter: dollars of dollars": (
        "openrouter",
        {"data": {"limit": 20, "limit_remaining": 15, "limit_reset": "monthly"}},
    ),
    "z.ai: 0 to 100 used, epoch milliseconds": (
        "zai",
        {"data": {"limits": [GLM | {"nextResetTime": 1785542400000}]}},
    ),
    "OpenCode Go: 0 to 100 used, RFC 3339": (
        "opencode-go",
        {"usage": {"weekly": {"percent": 25, "resetsAt": "2026-08-01T00:00:00.000Z"}}},
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_a8_a_quarter_used_in_a_body(case: str) -> None:
    provider, body = BODIES[case]
    [window] = read(known()[provider], body, NOW).windows
    assert (window.used_percent, window.resets_at) == (25.0, AUGUST)
    assert (window.source, window.as_of) == (Source.ENDPOINT, NOW)


SNAPSHOT = f"ent=300&ov=0.0&ovPerm=false&rem=75.0&rst={quote('2026-08-01T00:00:00Z', safe='')}"
UNIFIED = "anthropic-ratelimit-unified-5h"
HEADERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "B.1: 0 to 1 used, epoch seconds": (
        "anthropic",
        {f"{UNIFIED}-utilization": "0.25", f"{UNIFIED}-reset": "1785542400"},
    ),
    "B.2: 0 to 100 remaining, RFC 3339, url-encoded": (
        "github-copilot",
        {"x-quota-snapshot-premium_interactions": SNAPSHOT},
    ),
    "B.4: 0 to 100 used, epoch seconds": (
        "chatgpt",
        {
            "x-codex-primary-used-percent": "25.0",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-at": "1785542400",
        },
    ),
    "B.4, older: seconds from now": (
        "chatgpt",
        {
            "x-codex-primary-used-percent": "25",
            "x-codex-primary-window-minutes": "300",
            "x-codex-primary-reset-after-seconds": str(int(AUGUST - NOW)),
        },
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a8_a_quarter_used_in_headers(case: str) -> None:
    provider, fields = HEADERS[case]
    [window] = known()[provider].read_limits(tuple(fields.items()), NOW)
    assert (window.used_percent, window.resets_at) == (25.0, AUGUST)
    assert (window.source, window.as_of) == (Source.HEADER, NOW)
