"""For every test: nothing of the developer's own machine has a part in it."""

import os
import warnings

import pytest

with warnings.catch_warnings(action="ignore"):
    # When first imported, mitmproxy calls what its own dependencies deprecate (pyparsing).
    import mitmproxy.addons  # noqa: F401

_FOREIGN = (
    *("LIMIT_ROUTER_CONFIG", "ANTHROPIC_", "GITHUB_COPILOT_TOKEN", "OPENCODE_", "OPENAI_API_KEY"),
    *("OPENROUTER_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "ZAI_API_KEY"),
)


@pytest.fixture(autouse=True, scope="session")
def _own_environment():
    """Sign-ins and configurations of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [it for it in os.environ if any(word in it.upper() for word in _FOREIGN)]:
            patch.delenv(name)
        yield
