"""auth.openai.com and platform.claude.com: new tokens for a refresh token, which works once."""

import base64
import json
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl

from core.simulator.exchange import Answer, Json, Kind, Received, Refusal, json_answer
from core.simulator.inference import check_leaks, take_fault
from core.simulator.world import ANTHROPIC, CHATGPT, World

_FIELDS = {"grant_type", "refresh_token", "client_id"}
_LIFETIME_S = 3600
_ACCOUNT = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class _Client:
    """Whom an endpoint knows, and how it wants to be asked."""

    provider: str
    client_id: str
    content_type: str


_CLIENTS = {
    "/oauth/token": _Client(
        CHATGPT, "app_EMoamEEZ73f0CkXaXp7hrann", "application/x-www-form-urlencoded"
    ),
    "/v1/oauth/token": _Client(
        ANTHROPIC, "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "application/json"
    ),
}


class Tokens:
    """Both hosts in one: their paths differ. Faults are injected for the provider `tokens`."""

    provider = "tokens"

    def __init__(self, world: World) -> None:
        self.world = world
        self.hosts: set[str] = set()
        self._used: set[str] = set()

    def kind(self, _: Received) -> Kind:
        return "other"

    def answer(self, received: Received) -> Answer:
        client = _CLIENTS.get(received.path)
        try:
            check_leaks(received, self.hosts)
            return self._renew(client, received)
        except Refusal as refusal:
            body = _refused(client, refusal)
            return json_answer(refusal.status, body, refusal.headers, refusal.fault)

    def _renew(self, client: _Client | None, received: Received) -> Answer:
        if client is None or received.method != "POST":
            raise Refusal(404, "Not found")
        self._check(client, received)
        fault = take_fault(self.world, self.provider, stream=False)
        return json_answer(200, self._rotated(client.provider), fault=fault)

    def _check(self, client: _Client, received: Received) -> None:
        fields = _fields(client, received)
        if fields["grant_type"] != "refresh_token":
            raise Refusal(400, "Unsupported grant type", "unsupported_grant_type")
        if fields["client_id"] != client.client_id:
            raise Refusal(401, "Unknown client", "invalid_client")
        token = fields["refresh_token"]
        if token in self._used:
            raise Refusal(400, "This refresh token was used before", _reused(client))
        if token != self.world.refresh_tokens[client.provider]:
            raise Refusal(400, "This refresh token is not valid", "invalid_grant")

    def _rotated(self, provider: str) -> Json:
        """From here on the old tokens are dead."""
        world = self.world
        self._used.add(world.refresh_tokens[provider])
        refresh = world.refresh_tokens[provider] = f"rt-SECRET-SIM-{secrets.token_urlsafe(24)}"
        access = f"at-SECRET-SIM-{secrets.token_urlsafe(24)}"
        if provider == CHATGPT:
            access = _jwt({"https://api.openai.com/auth": {"chatgpt_account_id": _ACCOUNT}})
        else:
            world.tokens[provider] = access
        tokens = {"access_token": access, "refresh_token": refresh, "expires_in": _LIFETIME_S}
        return {"token_type": "Bearer", **tokens}


def _fields(client: _Client, received: Received) -> dict[str, str]:
    """The question's fields, and nothing beside them."""
    if received.header("authorization") is not None or received.query:
        raise Refusal(400, "a token stands where it does not belong", "invalid_request")
    if received.header("content-type") != client.content_type:
        raise Refusal(415, f"content-type: must be {client.content_type}", "invalid_request")
    try:
        text = received.body.decode("ascii")
        form = client.provider == CHATGPT
        fields = dict(parse_qsl(text, strict_parsing=True)) if form else json.loads(text)
    except ValueError:
        raise Refusal(400, "the body cannot be read", "invalid_request") from None
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise Refusal(400, f"the fields are {', '.join(sorted(_FIELDS))}", "invalid_request")
    return fields


def _reused(client: _Client) -> str:
    return "refresh_token_reused" if client.provider == CHATGPT else "invalid_grant"


def _refused(client: _Client | None, refusal: Refusal) -> Json:
    code = refusal.error or "server_error"
    if client is not None and client.provider == ANTHROPIC:
        return {"error": code, "error_description": refusal.message}
    error = {"message": refusal.message, "type": "invalid_request_error", "param": None}
    return {"error": error | {"code": code}}


def _jwt(claims: Json) -> str:
    parts = ({"alg": "none"}, claims | {"jti": secrets.token_hex(8)})
    coded = [base64.urlsafe_b64encode(json.dumps(it).encode()).decode().rstrip("=") for it in parts]
    return f"{coded[0]}.{coded[1]}.SECRET-SIM"
