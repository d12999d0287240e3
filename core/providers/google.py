"""Google Gemini by API key, through its OpenAI-compatible endpoint. PROVIDERS A.5, B.6, D.5.

It has no usage endpoint and no limits in headers: nothing is read.
"""

from core.model import AccountKind, CredentialType
from core.provider import Endpoints, Provider

PROVIDER = Provider(
    id="google",
    name="Google Gemini",
    endpoints=lambda _: Endpoints(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai", usage_url=None
    ),
    paths={},
    env=("GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"),
    opencode_keys=("google",),
    # Plugins keep Code Assist sign-ins under the same key: those are for another host.
    accepts=lambda type_: type_ is CredentialType.API,
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.METERED,
    opt_in=lambda _: None,
    # `x-goog-api-key` is for the native endpoint; the compatible one takes a bearer token.
    authorize=lambda credential: (("authorization", f"Bearer {credential.secret.reveal()}"),),
    model_id=lambda model: model,
)
