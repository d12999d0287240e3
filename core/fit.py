"""Whether a model can serve an ask at all, by what its catalogue entry says it can do. Pure."""

from core.catalog import CatalogModel
from core.model import Ask

FEWEST_BYTES_PER_TOKEN = 12.0
"""Of a body. Prose has some 4, code 3, and JSON about it adds: what is beyond is surely too long."""


def unfit(model: CatalogModel, ask: Ask, cached_tokens: int) -> str | None:
    """Why the model would refuse it; None where it may well serve.

    `cached_tokens` are what the conversation is known to have. Nothing is refused on a guess.
    """
    can_read = model.input_modalities
    if ask.images and can_read and "image" not in can_read:
        return "takes no images"
    if "tools" in ask.fields and model.tool_call is False:
        return "calls no tools"
    if ask.thinking and model.reasoning is False:
        return "does not think"
    if ask.max_tokens is not None and model.output and ask.max_tokens > model.output:
        return f"answers with at most {model.output:,} tokens, and {ask.max_tokens:,} are asked for"
    return _too_long(model, ask, cached_tokens)


def _too_long(model: CatalogModel, ask: Ask, cached_tokens: int) -> str | None:
    longest = model.input or model.context
    if longest is None:
        return None
    if cached_tokens > longest:
        return f"takes at most {longest:,} tokens, and {cached_tokens:,} are cached already"
    # An image is many bytes and few tokens.
    surely = 0 if ask.images else int(ask.size_bytes / FEWEST_BYTES_PER_TOKEN)
    if surely > longest:
        return f"takes at most {longest:,} tokens, and the request has more than {surely:,}"
    return None
