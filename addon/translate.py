"""mitmproxy's requests and responses to core's and back. No decisions."""

from dataclasses import replace

from mitmproxy import http
from mitmproxy.net.http import url

from core import Headers, HttpRequest, HttpResponse


def headers_of(message: http.Message) -> Headers:
    return tuple((_text(name), _text(value)) for name, value in message.headers.fields)


def head_of(request: http.Request) -> HttpRequest:
    """The request without Host (where it goes stands in its host and port) and without body."""
    headers = tuple(h for h in headers_of(request) if h[0].lower() != "host")
    return HttpRequest(
        request.method, request.scheme, request.host, request.port, request.path, headers
    )


def request_of(request: http.Request) -> HttpRequest:
    """The request, whole."""
    return replace(head_of(request), body=request.raw_content or b"")


def set_request(request: http.Request, new: HttpRequest) -> None:
    """Make the flow's request this one."""
    request.headers = _fields(new.headers)
    request.method, request.scheme, request.path = new.method, new.scheme, new.path
    request.data.host, request.data.port = new.host, new.port
    authority = url.hostport(new.scheme, new.host, new.port)
    if request.is_http2 or request.is_http3:
        request.authority = authority
    else:
        request.authority = ""
        request.headers.insert(0, "Host", authority)
    request.raw_content = new.body
    # A trailer could carry what was taken out of the headers.
    request.trailers = None


def response_of(response: HttpResponse) -> http.Response:
    made = http.Response.make(response.status, response.body)
    made.headers = _fields(response.headers)
    made.headers["content-length"] = str(len(response.body))
    return made


def _fields(headers: Headers) -> http.Headers:
    return http.Headers([(_bytes(name), _bytes(value)) for name, value in headers])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
