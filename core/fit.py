"""Whether a model can serve an ask at all, by what is said of its limits and abilities. Pure."""

from core.catalog import CatalogModel
from core.model import Abilities, Ask

MOST_BYTES_PER_TOKEN = 16.0
"""Of a body. Prose has some 4 and code 3; only rules and blanks in rows come to more, and no body
is made of them: what is beyond is surely too long."""

_NOTHING = Abilities()


def abilities(told: Abilities | None, listed: CatalogModel | None) -> Abilities:
    """What the provider itself says of its model, and where it says nothing, the catalogue."""
    own, other = told or _NOTHING, _NOTHING if listed is None else _of(listed)
    return Abilities(
        _first(own.context, other.context),
        _first(own.prompt, other.prompt),
        _first(own.output, other.output),
        _first(own.images, other.images),
        _first(own.tools, other.tools),
        _first(own.thinking, other.thinking),
    )


def _of(model: CatalogModel) -> Abilities:
    can_read = model.input_modalities
    return Abilities(
        model.context,
        model.input,
        model.output,
        "image" in can_read if can_read else None,
        model.tool_call,
        model.reasoning,
    )


def _first[V](own: V | None, other: V | None) -> V | None:
    return other if own is None else own


def unfit(model: Abilities, ask: Ask, cached_tokens: int) -> str | None:
    """Why the model would refuse it; None where it may well serve.

    `cached_tokens` are what the conversation is known to have. Nothing is refused on a guess.
    """
    if ask.images and model.images is False:
        return "takes no images"
    if "tools" in ask.fields and model.tools is False:
        return "calls no tools"
    if ask.thinking and model.thinking is False:
        return "does not think"
    if ask.max_tokens is not None and model.output and ask.max_tokens > model.output:
        return f"answers with at most {model.output:,} tokens, and {ask.max_tokens:,} are asked for"
    return _too_long(model, ask, cached_tokens)


def _too_long(model: Abilities, ask: Ask, cached_tokens: int) -> str | None:
    limits = [limit for limit in (model.prompt, model.context) if limit is not None]
    if not limits:
        return None
    # One may be the provider's and the other the catalogue's.
    longest = min(limits)
    if cached_tokens > longest:
        return f"takes at most {longest:,} tokens, and {cached_tokens:,} are cached already"
    # An image is many bytes and few tokens.
    surely = 0 if ask.images else int(ask.size_bytes / MOST_BYTES_PER_TOKEN)
    if surely > longest:
        return f"takes at most {longest:,} tokens, and the request has more than {surely:,}"
    return None
