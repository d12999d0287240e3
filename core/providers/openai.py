"""OpenAI by API key, pay per token. PROVIDERS A.3, B.3, D.4.

There is no usage endpoint without an organisation's admin key, and `x-ratelimit-*` are burst
limits (requests and tokens per minute), which are no quota: nothing is read.
"""

from core.model import AccountKind, CredentialType
from core.provider import Endpoints, Provider

PROVIDER = Provider(
    id="openai",
    name="OpenAI",
    endpoints=lambda _: Endpoints(base_url="https://api.openai.com", usage_url=None),
    paths={},
    env=("OPENAI_API_KEY",),
    opencode_keys=("openai",),
    # The sign-in under the same key is ChatGPT's: another host, and not paid per token.
    accepts=lambda type_: type_ is CredentialType.API,
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.METERED,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    # OpenCode's names are OpenAI's own.
    model_id=lambda model: model,
)
