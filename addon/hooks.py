"""The addon's hooks. Translation only; a matched request whose handling fails gets an error."""

import asyncio
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addon import translate
from addon.flows import FLOWS, Routed
from addon.guard import is_local_peer, is_this_machine
from addon.show import show
from addon.stream import StreamLayers
from core import (
    Engine,
    Forward,
    HttpRequest,
    HttpResponse,
    LimitRouterError,
    Tap,
    build,
    failure,
    is_virtual,
    may_match,
)

log = logging.getLogger(__name__)

REFUSED_MARK = ":no_entry:"
OPTION = "limit_router_config"
RESTART_S = 60.0


class LimitRouter:
    """Routes what asks for a virtual model; leaves all else alone."""

    def __init__(self) -> None:
        self._layers = StreamLayers()
        self._task: asyncio.Task[None] | None = None

    # The addon's life

    def load(self, loader: Loader) -> None:
        loader.add_option(OPTION, str, "", "limit-router: the mitm.yaml to use.")
        # In running() the port already listens: early connections would never get our layer.
        ctx.master.addons.add(self._layers)

    def configure(self, updated: set[str]) -> None:
        if OPTION in updated:
            self._start_engine()
        FLOWS.unsafe = _PROXY_DEBUG if ctx.options.proxy_debug else None
        if FLOWS.engine is not None:
            self._set_options(FLOWS.engine)

    def running(self) -> None:
        if FLOWS.engine is not None:
            self._start_polling(FLOWS.engine)

    def done(self) -> object:
        """Plain, and returning an awaitable: an `async def done` would break reloading."""
        if self._layers in ctx.master.addons:
            ctx.master.addons.remove(self._layers)
        task, self._task = self._task, None
        if FLOWS.engine is not None:
            FLOWS.engine.close()
        if task is None:
            return None
        task.cancel()
        return asyncio.gather(task, return_exceptions=True)

    # Requests

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        if FLOWS.engine is not None:
            # A sign-in to another enterprise may have come since.
            self._set_options(FLOWS.engine)
        await self._keep_out(flow)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """The last look, for what comes by other ways than CONNECT (SOCKS, a name's second answer)."""
        engine, address = FLOWS.engine, data.server.address
        if engine is None or address is None or is_local_peer(_address(data.client.peername)):
            return
        host, port, *_ = address
        if (host, port) in engine.targets():
            return
        if await _is_forbidden(host):
            data.server.error = _NO_LOOPBACK.decode().strip()

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        request = flow.request
        if may_match(request.method, request.host, request.path):
            # A streamed body would go to the client's host before anybody has read its model.
            request.stream = False
        if not is_virtual(request.host):
            await self._keep_out(flow)

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.response or flow.error or not flow.live:
            return
        try:
            self._route(flow)
        except Exception as error:  # noqa: BLE001 - fail closed: mitmproxy would let it go on
            _log_bug("a request", error)
            shown = flow.request
            if may_match(shown.method, shown.host, shown.path):
                answer = failure(translate.request_of(shown), 500, _BUG)
                flow.response = translate.response_of(answer)

    # Answers

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        routed = FLOWS.get(flow.id)
        if flow.response is None or FLOWS.engine is None:
            return
        if routed is None or not routed.live:
            self._witness(flow, flow.response, FLOWS.engine)
            return
        try:
            headers = translate.headers_of(flow.response)
            FLOWS.engine.observe_headers(routed.forward, flow.response.status_code, headers)
            routed.tap = FLOWS.engine.tap(routed.forward, headers)
            for name, value in routed.forward.response_headers:
                flow.response.headers[name] = value
        except Exception as error:  # noqa: BLE001 - fail closed
            _log_bug("an answer's headers", error)
            flow.kill()
            return
        flow.response.stream = _tapped(routed.tap, FLOWS.engine.clock)

    def response(self, flow: http.HTTPFlow) -> None:
        self._close(flow, whole=True)

    def error(self, flow: http.HTTPFlow) -> None:
        # A broken stream never sends the final b"".
        self._close(flow, whole=False)

    # The parts

    def _route(self, flow: http.HTTPFlow) -> None:
        original, engine = self._original(flow), FLOWS.engine
        if original is None:
            self._answer(flow, failure(translate.request_of(flow.request), 410, _FORGOTTEN))
            return
        if not may_match(original.method, original.host, original.path):
            return
        if engine is None:
            if is_virtual(original.host) or b"limit-router/" in original.body:
                self._answer(flow, failure(original, 503, _NOT_CONFIGURED))
            return
        peer = None if flow.is_replay else _peer(flow)
        connection = None if flow.is_replay else flow.client_conn.id
        plan = engine.plan(original, peer=peer, connection=connection)
        if plan is None:
            return
        if isinstance(plan, Forward) and FLOWS.unsafe is not None:
            engine.observe_end(plan, None)
            plan = failure(original, 503, FLOWS.unsafe)
        if isinstance(plan, HttpResponse):
            self._answer(flow, plan)
        else:
            self._forward(flow, original, plan)

    def _answer(self, flow: http.HTTPFlow, answer: HttpResponse) -> None:
        flow.response = translate.response_of(answer)
        if (request_id := flow.response.headers.get("x-limit-router-request")) is not None:
            flow.metadata["limit_router.request"] = request_id
        if answer.status >= 400:  # noqa: PLR2004
            message = json.loads(answer.body)["error"]["message"]
            flow.marked = REFUSED_MARK
            flow.comment = f"limit-router: {message}"
            log.warning("limit-router: %s: %s", answer.status, message)

    def _forward(self, flow: http.HTTPFlow, original: HttpRequest, forward: Forward) -> None:
        FLOWS.add(flow.id, Routed(original, forward))
        show(flow, forward)

    def _original(self, flow: http.HTTPFlow) -> HttpRequest | None:
        """What the client sent; a replay finds it beside the flow that was routed first.

        None where that is no longer kept: what the flow shows is another target's rewrite.
        """
        first = flow.metadata.get("limit_router.flow") if flow.is_replay else None
        if first is None:
            return translate.request_of(flow.request)
        kept = FLOWS.get(str(first))
        return None if kept is None else kept.original

    def _witness(self, flow: http.HTTPFlow, answer: http.Response, engine: Engine) -> None:
        """An answer to what was not routed tells of limits too; it goes by as it is."""
        streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
        try:
            sent = translate.head_of(flow.request)
            witnessed = engine.witness(sent, translate.headers_of(answer))
            decrypted = streamed and (sent.host, sent.port) in engine.intercepted()
        except Exception as error:  # noqa: BLE001 - it is none of our business
            _log_bug("an answer that was not routed", error)
            return
        if witnessed is not None:
            FLOWS.witnessed[flow.id] = witnessed
        if streamed and (decrypted or witnessed is not None) and not answer.stream:
            # We have it decrypted, so it is for us that it would be held back to its end.
            answer.stream = _tapped(witnessed.tap, engine.clock) if witnessed else True

    def _close(self, flow: http.HTTPFlow, *, whole: bool) -> None:
        witnessed = FLOWS.witnessed.pop(flow.id, None)
        if witnessed is not None and FLOWS.engine is not None:
            FLOWS.engine.witness_end(witnessed, witnessed.tap.close(whole=whole))
        routed = FLOWS.get(flow.id)
        if routed is None or not routed.live:
            return
        tap = routed.tap
        FLOWS.end(flow.id)
        seen = None if tap is None else tap.close(whole=whole)
        if FLOWS.engine is not None:
            FLOWS.engine.observe_end(routed.forward, seen)
        if seen is None:
            return
        if seen.complete is not None:
            flow.metadata["limit_router.complete"] = seen.complete
        if seen.error is not None:
            flow.metadata["limit_router.error"] = seen.error
        for name, count in (("input", seen.tokens.input), ("output", seen.tokens.output)):
            if count is not None:
                flow.metadata[f"limit_router.{name}_tokens"] = count

    async def _keep_out(self, flow: http.HTTPFlow) -> None:
        """A client from elsewhere must not reach this machine through us, nor us as a local one."""
        if flow.is_replay or is_local_peer(_peer(flow)):
            return
        if await _is_forbidden(flow.request.host):
            flow.request.stream = False
            flow.response = http.Response.make(403, _NO_LOOPBACK)

    def _start_engine(self) -> None:
        explicit, old = getattr(ctx.options, OPTION), FLOWS.engine
        if old is not None:
            old.close()
        try:
            FLOWS.engine = build(Path(explicit) if explicit else None, previous=old)
        except LimitRouterError as error:
            if FLOWS.engine is not None:
                raise exceptions.OptionsError(str(error)) from None
            # An OptionsError would be swallowed here, and the proxy would run without us.
            log.error("limit-router: %s", error)  # noqa: TRY400 - the sentence says it all
        else:
            if self._task is not None:
                self._task.cancel()
                self._start_polling(FLOWS.engine)

    def _start_polling(self, engine: Engine) -> None:
        self._task = asyncio.get_running_loop().create_task(engine.run(lambda: _ready(engine)))
        self._task.add_done_callback(self._begin_again)

    def _begin_again(self, task: asyncio.Task[None]) -> None:
        """A bug in the background must not end polling and saving for good."""
        if task.cancelled() or task is not self._task or FLOWS.engine is None:
            return
        if (error := task.exception()) is not None:
            _log_bug("the background task", error)
        asyncio.get_running_loop().call_later(RESTART_S, self._restart, task)

    def _restart(self, ended: asyncio.Task[None]) -> None:
        """Unless the addon was taken out, or given another engine, in the meantime."""
        if ended is self._task and FLOWS.engine is not None:
            self._start_polling(FLOWS.engine)

    def _set_options(self, engine: Engine) -> None:
        _set("connection_strategy", "lazy")
        _set("store_streamed_bodies", True)
        if not ctx.options.ignore_hosts:
            hosts = engine.intercepted()
            _set("allow_hosts", [f"^{re.escape(host)}:{port}$" for host, port in hosts])


def _set(option: str, value: object) -> None:
    """Set an option unless the user has. `has_changed` cannot see an explicit default."""
    now = getattr(ctx.options, option)
    ours = FLOWS.options_set.get(option)
    if now == value:
        return
    if now == ours if option in FLOWS.options_set else not ctx.options.has_changed(option):
        FLOWS.options_set[option] = value
        ctx.options.update(**{option: value})


def _tapped(tap: Tap, clock: Callable[[], float]) -> Callable[[bytes], bytes | Iterable[bytes]]:
    broken = False

    def feed(chunk: bytes) -> bytes:
        nonlocal broken
        if chunk and not broken:
            try:
                tap.feed(chunk, clock())
            except Exception as error:  # noqa: BLE001 - the tap switches itself off, bytes flow on
                broken = True
                _log_bug("an answer's body", error)
        return chunk

    return feed


async def _is_forbidden(host: str) -> bool:
    """Whether a client from elsewhere may not go there."""
    try:
        return await is_this_machine(host)
    except Exception as error:  # noqa: BLE001 - fail closed
        _log_bug("a client from elsewhere", error)
        return True


def _peer(flow: http.HTTPFlow) -> str:
    return _address(flow.client_conn.peername)


def _address(peername: tuple[object, ...] | None) -> str:
    """Of a client; one that is not known is nobody's."""
    return "" if peername is None else str(peername[0])


def _ready(engine: Engine) -> None:
    for warning in engine.warnings():
        log.warning("limit-router: %s", warning)
    log.info("limit-router is ready: %s", engine.summary())


def _log_bug(where: str, error: BaseException) -> None:
    """The frames without the message, which may quote a request."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _log_bug(where, inner)
        return
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("limit-router: %s while handling %s\n%s", type(error).__name__, where, frames)


_BUG = "limit-router failed on this request and did not send it anywhere; its log says where"
_NOT_CONFIGURED = "limit-router has no valid configuration; its log says what is wrong"
_PROXY_DEBUG = "limit-router routes nothing while mitmproxy's proxy_debug prints all that is sent"
_FORGOTTEN = "limit-router no longer keeps this request as its client sent it; send it anew"
_NO_LOOPBACK = b"limit-router: this proxy gives clients elsewhere no way to this machine itself.\n"
