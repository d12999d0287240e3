"""Makes a flow show where its request goes now: the request, the marker, the comment. No decisions."""

from collections.abc import Iterator

from mitmproxy import http

from addon import translate
from core import Forward

ROUTED_MARK = ":twisted_rightwards_arrows:"


def show(flow: http.HTTPFlow, forward: Forward) -> None:
    """Of every attempt; the latest is what is seen."""
    chosen = forward.route.candidate
    translate.set_request(flow.request, forward.request)
    flow.marked = ROUTED_MARK
    why = forward.route.reason.removeprefix(f"{chosen.provider}: ")
    flow.comment = f"{chosen.provider} {chosen.provider_model}: {why}"
    if changed := ", ".join(_changed(forward)):
        # It would be refused otherwise, or has been.
        after = "" if forward.attempt == 1 else " after a refusal"
        flow.comment += f" ({changed}{after})"
    flow.metadata.update(
        {
            "limit_router.flow": flow.id,
            "limit_router.request": forward.request_id,
            "limit_router.model": forward.ask.model,
            "limit_router.provider": chosen.provider,
            "limit_router.provider_model": chosen.provider_model,
            "limit_router.reason": forward.route.reason,
            "limit_router.attempts": forward.attempt,
        }
    )


def _changed(forward: Forward) -> Iterator[str]:
    thinking = forward.thinking
    if thinking.removed:
        blocks = "block" if thinking.removed == 1 else "blocks"
        yield f"{thinking.removed} thinking {blocks} left out"
    if thinking.off:
        yield "thinking off"
