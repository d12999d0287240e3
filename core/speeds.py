"""How fast accounts answered of late, by model: moving averages. In memory, told the time."""

from core.model import Account, Speed, Tokens
from core.observe import Observation

STEP = 0.3
"""How much the latest answer weighs."""
FEWEST_TOKENS = 20
"""An answer of fewer says little about their rate."""
SHORTEST_S = 0.05


class Speeds:
    """By account and the provider's spelling of the model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Speed] = {}

    def of(self, account: Account, model: str) -> Speed | None:
        """None until an answer was seen whole."""
        return self._known.get((account.id, model))

    def learn(
        self, account: Account, model: str, sent_at: float, seen: Observation, now: float
    ) -> None:
        """From a streamed answer that ended well; others tell nothing of first tokens."""
        first_at = seen.first_content_at
        if not seen.complete or first_at is None:
            return
        first = max(first_at - sent_at, 0.0)
        rate = _rate(seen.tokens, now - first_at)
        held = self.of(account, model)
        if held is None:
            if rate is not None:
                self._known[account.id, model] = Speed(first, rate, 0.0, now)
            return
        off = first - held.first_token_s
        self._known[account.id, model] = Speed(
            held.first_token_s + STEP * off,
            held.tokens_per_s + STEP * ((rate or held.tokens_per_s) - held.tokens_per_s),
            held.spread_s + STEP * (abs(off) - held.spread_s),
            now,
        )


def _rate(tokens: Tokens, seconds: float) -> float | None:
    """Tokens a second; None where there were too few to tell."""
    if tokens.output is None or tokens.output < FEWEST_TOKENS:
        return None
    return tokens.output / max(seconds, SHORTEST_S)
