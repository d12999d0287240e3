"""OpenCode Zen, pay as you go. PROVIDERS A.7, C.7, D.3.

Its balance stands on a web page alone, and it strips the rate headers of those behind it.
"""

from core.model import AccountKind
from core.provider import Endpoints, Provider

PROVIDER = Provider(
    id="opencode",
    name="OpenCode Zen",
    endpoints=lambda _: Endpoints(base_url="https://opencode.ai/zen", usage_url=None),
    paths={},
    env=("OPENCODE_API_KEY",),
    opencode_keys=("opencode",),
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.METERED,
    opt_in=lambda _: None,
    # Its Messages endpoint reads the key from this field only.
    authorize=lambda credential: (("x-api-key", credential.secret.reveal()),),
    # OpenCode's names are Zen's own, dashed.
    model_id=lambda model: model,
)
