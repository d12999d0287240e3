"""Keeps the credential out of what a provider says: it may send back what it was sent. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from core.model import Secret, Usage, Window

PIECE = 12
"""So many characters in a row are taken for a part of the secret, whatever their case."""


def usage(found: Usage, secret: Secret) -> Usage:
    """Without the plan and the windows that are called like a part of the secret."""
    pieces = _pieces(secret)
    windows = tuple(window for window in found.windows if not _tells(_names(window), pieces))
    plan = found.plan
    return replace(found, windows=windows, plan=None if _tells([plan], pieces) else plan)


def models(found: tuple[str, ...], secret: Secret) -> tuple[str, ...]:
    pieces = _pieces(secret)
    return tuple(model for model in found if not _tells([model], pieces))


def _names(window: Window) -> tuple[str | None, ...]:
    return window.name, window.scope


def _pieces(secret: Secret) -> frozenset[str]:
    """Every run of that length; a shorter secret is one whole."""
    text = secret.reveal().lower()
    return frozenset(text[at : at + PIECE] for at in range(max(len(text) - PIECE, 0) + 1))


def _tells(texts: Iterable[str | None], pieces: frozenset[str]) -> bool:
    return any(piece in text.lower() for text in texts if text is not None for piece in pieces)
