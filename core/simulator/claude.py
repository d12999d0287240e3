"""The Claude models of both providers: their ids, their versions and both lists of them."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from core.simulator.exchange import Json

type Version = tuple[int, int]

ANTHROPIC_MODELS: Mapping[str, Version] = MappingProxyType(
    {
        "claude-opus-4-1": (4, 1),
        "claude-opus-4-1-20250805": (4, 1),
        "claude-haiku-4-5": (4, 5),
        "claude-haiku-4-5-20251001": (4, 5),
        "claude-sonnet-4-5": (4, 5),
        "claude-sonnet-4-5-20250929": (4, 5),
        "claude-opus-4-5": (4, 5),
        "claude-opus-4-5-20251101": (4, 5),
        "claude-sonnet-4-6": (4, 6),
        "claude-opus-4-6": (4, 6),
        "claude-opus-4-7": (4, 7),
        "claude-opus-4-8": (4, 8),
        "claude-sonnet-5": (5, 0),
        "claude-opus-5": (5, 0),
        "claude-opus-5-5": (5, 5),
        "claude-sonnet-5-5": (5, 5),
        "claude-haiku-5-5": (5, 5),
        "claude-fable-5": (5, 0),
        "claude-fable-5-1": (5, 1),
        "claude-fable-5-2": (5, 2),
    }
)

_COPILOT_CHAT_ONLY = "claude-opus-4.1"
_COPILOT_DISABLED = "claude-fable-5"
_DATED = re.compile(r"-\d{8}$")
_VERSION = re.compile(r"-(\d)-(\d)$")
_DOTTED = re.compile(r"-(\d+)(?:\.(\d+))?$")


def dotted_version(model: str) -> Version:
    """The version in an id of Copilot's spelling; one without any counts as old."""
    found = _DOTTED.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def anthropic_models() -> list[Json]:
    """Anthropic's list, the newest first: a model that has a snapshot stands there as that alone."""
    dated = {_DATED.sub("", it) for it in ANTHROPIC_MODELS if _DATED.search(it)}
    ids = sorted(ANTHROPIC_MODELS, key=lambda it: ANTHROPIC_MODELS[it], reverse=True)
    return [_described(it) for it in ids if it not in dated]


def _described(model: str) -> Json:
    adaptive = ANTHROPIC_MODELS[model] >= (4, 6)
    able = ("batch", "citations", "code_execution", "context_management", "image_input")
    levels = {it: {"supported": adaptive} for it in ("low", "medium", "high", "max")}
    return {
        "type": "model",
        "id": model,
        "display_name": _DATED.sub("", model).replace("-", " ").title(),
        "created_at": "2025-09-29T00:00:00Z",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": {
            **{it: {"supported": True} for it in (*able, "pdf_input", "structured_outputs")},
            "effort": {"supported": adaptive, **levels},
            "thinking": {
                "supported": True,
                "types": {"adaptive": {"supported": adaptive}, "enabled": {"supported": True}},
            },
        },
    }


def copilot_models() -> list[Json]:
    """Copilot's list: dotted ids, one for chat completions alone, one that a policy disables."""
    ids = dict.fromkeys(
        _VERSION.sub(r"-\1.\2", it) for it in ANTHROPIC_MODELS if not _DATED.search(it)
    )
    return [_listed(it) for it in ids]


def _listed(model: str) -> Json:
    wires = ["/chat/completions"]
    if model != _COPILOT_CHAT_ONLY:
        wires.append("/v1/messages")
    state = "disabled" if model == _COPILOT_DISABLED else "enabled"
    return {
        "id": model,
        "name": model.replace("-", " ").title(),
        "vendor": "Anthropic",
        "version": model,
        "object": "model",
        "model_picker_enabled": True,
        "model_picker_category": "versatile",
        "preview": False,
        "policy": {"state": state, "terms": "Enable access to this Claude model."},
        "supported_endpoints": wires,
        "billing": {"is_premium": True, "multiplier": 1, "restricted_to": ["pro", "business"]},
        "capabilities": _capabilities(model),
    }


def _capabilities(model: str) -> Json:
    adaptive = dotted_version(model) >= (4, 6)
    return {
        "type": "chat",
        "family": model,
        "object": "model_capabilities",
        "tokenizer": "o200k_base",
        "limits": {
            "max_context_window_tokens": 200_000,
            "max_prompt_tokens": 168_000,
            "max_output_tokens": 32_000,
            "max_non_streaming_output_tokens": 16_000,
            "vision": {
                "max_prompt_image_size": 3_145_728,
                "max_prompt_images": 5,
                "supported_media_types": ["image/jpeg", "image/png", "image/webp"],
            },
        },
        "supports": {
            "streaming": True,
            "tool_calls": True,
            "parallel_tool_calls": True,
            "vision": True,
            "structured_outputs": True,
            "min_thinking_budget": 1024,
            "max_thinking_budget": 32_000,
            **(
                {"adaptive_thinking": True, "reasoning_effort": ["low", "high"]} if adaptive else {}
            ),
        },
    }
