"""OpenAI's two formats, Responses and Chat Completions: the error envelope that they share."""

import msgspec

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def error_body(status: int, message: str) -> bytes:
    fallback = "invalid_request_error" if 400 <= status < 500 else "server_error"  # noqa: PLR2004
    kind = ERROR_TYPES.get(status, fallback)
    error = {"message": message, "type": kind, "param": None, "code": None}
    return msgspec.json.encode({"error": error})
