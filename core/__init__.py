"""limit-router's headless core: what the addon and others may use. No mitmproxy here."""

from core.engine import Engine
from core.errors import ConfigError, LimitRouterError
from core.match import VIRTUAL_HOST, failure, is_virtual, may_match
from core.model import Headers, HttpRequest, HttpResponse
from core.observe import Tap
from core.plan import Forward, Plan, Witnessed
from core.rewrite import CLIENT_CREDENTIALS
from core.setup import build
from core.version import __version__

__all__ = [
    "CLIENT_CREDENTIALS",
    "VIRTUAL_HOST",
    "ConfigError",
    "Engine",
    "Forward",
    "Headers",
    "HttpRequest",
    "HttpResponse",
    "LimitRouterError",
    "Plan",
    "Tap",
    "Witnessed",
    "__version__",
    "build",
    "failure",
    "is_virtual",
    "may_match",
]
