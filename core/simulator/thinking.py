"""The rules on thinking: which kind a model takes, and what a pending tool loop needs of it."""

from core.simulator.body import Turn, check_fields, refuse
from core.simulator.claude import Version
from core.simulator.exchange import Json

BINDING_BETA = "thinking-binding-controls-2026-08-01"
INTERLEAVED_BETA = "interleaved-thinking-2025-05-14"
_FIELDS = {
    "enabled": frozenset({"type", "budget_tokens", "display", "block_binding"}),
    "adaptive": frozenset({"type", "display", "block_binding"}),
    "disabled": frozenset({"type"}),
}
_ADAPTIVE_SINCE: Version = (4, 6)
_ADAPTIVE_ONLY_SINCE: Version = (4, 7)
_BY_DEFAULT_SINCE: Version = (5, 0)
_LEAST_BUDGET = 1024


def asked_kind(body: Json) -> str:
    """`enabled`, `adaptive`, or `disabled` where nothing of the sort was asked for."""
    thinking = body.get("thinking")
    return str(thinking.get("type")) if isinstance(thinking, dict) else "disabled"


def thinks(body: Json, version: Version) -> bool:
    """The 5 series does unless it is told not to."""
    if "thinking" not in body:
        return version >= _BY_DEFAULT_SINCE
    return asked_kind(body) != "disabled"


def check_thinking(body: Json, betas: frozenset[str], version: Version) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    asked = str(thinking.get("type")) if isinstance(thinking, dict) else ""
    if asked not in _FIELDS:
        refuse("thinking: Input tag does not match 'disabled', 'enabled' or 'adaptive'")
    if "block_binding" in thinking and BINDING_BETA not in betas:
        refuse(f"thinking.{asked}.block_binding: Extra inputs are not permitted")
    check_fields(thinking, _FIELDS[asked], f"thinking.{asked}.")
    if asked == "enabled":
        _check_budget(body, betas, version)
    if asked == "adaptive" and version < _ADAPTIVE_SINCE:
        refuse("adaptive thinking is not supported on this model")
    if asked == "disabled" and "thinking" in body:
        _check_effort(body)
    _check_sampling(body, asked, version)


def _check_budget(body: Json, betas: frozenset[str], version: Version) -> None:
    if version >= _ADAPTIVE_ONLY_SINCE:
        refuse(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" '
            'and "output_config.effort" to control thinking behavior.'
        )
    budget = body["thinking"].get("budget_tokens")
    if type(budget) is not int or budget < _LEAST_BUDGET:
        refuse(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to "
            f"{_LEAST_BUDGET}"
        )
    if budget >= body["max_tokens"] and INTERLEAVED_BETA not in betas:
        refuse("`max_tokens` must be greater than `thinking.budget_tokens`")


def _check_effort(body: Json) -> None:
    config = body.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    if body["model"] == "claude-opus-5" and effort in ("xhigh", "max"):
        refuse(f'"thinking.type.disabled" is not supported for this model at effort "{effort}".')


def _check_sampling(body: Json, asked: str, version: Version) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name in body and version >= _ADAPTIVE_ONLY_SINCE:
            refuse(f"`{name}` is deprecated for this model.")
    if asked != "disabled" and body.get("temperature", 1) != 1:
        refuse("`temperature` may only be set to 1 when thinking is enabled")


def check_loop(body: Json, conversation: list[Turn]) -> None:
    """With manual thinking, a pending tool loop keeps the thought that it began with."""
    if asked_kind(body) != "enabled" or not conversation[-1].of_type("tool_result"):
        return
    first = conversation[-2].blocks[0]
    if first.type not in ("thinking", "redacted_thinking"):
        refuse(
            f"{first.where}.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{first.type}`. When `thinking` is enabled, a final `assistant` message must start "
            "with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` "
            "blocks). To avoid this requirement, disable `thinking`."
        )
