"""The mitmproxy addon: `mitmdump -s addon/router.py`. Hooks to core values and back, no more."""

import logging
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
# mitmproxy has put addon/ first on the path; our own `core` must win over a foreign one.
if sys.path[0] != _ROOT:
    sys.path.insert(0, _ROOT)

addons: list[object] = []
try:
    from addon.hooks import LimitRouter
except (ImportError, SyntaxError) as error:
    # Homebrew's mitmproxy and the standalone binary have a Python of their own, without our
    # dependencies. An error while loading makes mitmproxy exit.
    missing = getattr(error, "name", None) or type(error).__name__
    logging.getLogger(__name__).error(  # noqa: TRY400 - a traceback helps nobody here
        "limit-router cannot run inside this mitmproxy (missing: %s). It needs Python 3.12 or newer, "
        "mitmproxy 12 and its own dependencies in one environment: run `uv run mitmdump -s "
        "addon/router.py` in its folder, or `pip install opencode-limit-router` and use the "
        "mitmdump that comes with it.",
        missing,
    )
else:
    addons = [LimitRouter()]
