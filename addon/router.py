"""The mitmproxy addon: `mitmdump -s addon/router.py`. Hooks to core values and back, no more."""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
# mitmproxy has put addon/ first on the path; our own `core` must win over a foreign one.
if sys.path[0] != _ROOT:
    sys.path.insert(0, _ROOT)

from addon.hooks import LimitRouter  # noqa: E402 - the path comes first

addons = [LimitRouter()]
