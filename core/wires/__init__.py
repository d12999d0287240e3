"""The wire formats: what a request on each says, and how each words an error."""

from core.model import Headers, Wire
from core.wires import messages, openai


def of_path(path: str) -> Wire | None:
    """The wire that a request path (without its query) belongs to, whatever prefix it has."""
    if path.endswith("/messages"):
        return Wire.MESSAGES
    if path.endswith("/chat/completions"):
        return Wire.CHAT
    if path.endswith("/responses"):
        return Wire.RESPONSES
    return None


def guess(path: str, headers: Headers) -> Wire:
    """The wire whose errors a client that sent this can read, also on a path nobody knows."""
    wire = of_path(path)
    if wire is not None:
        return wire
    names = {name.lower() for name, _ in headers}
    speaks_messages = "anthropic-version" in names or "/messages" in path
    return Wire.MESSAGES if speaks_messages else Wire.CHAT


def error_body(wire: Wire, status: int, message: str) -> bytes:
    """An error in the wire's own envelope, as JSON."""
    # It may quote a path or a header, and those hold the bytes that are not UTF-8 as surrogates.
    message = message.encode("utf-8", "replace").decode()
    if wire is Wire.MESSAGES:
        return messages.error_body(status, message)
    return openai.error_body(status, message)
