"""Refusal tokens: the first tokens of refusals, whose probability at the last position makes the refusal score.

The refusal-direction reference lists them by hand for each model ("I", sometimes "As"); a model that says "Sorry" would
be missed. Here they are the tokens that this model's own judged refusals begin with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

LEAST_SHARE = 0.05
"""A token that begins fewer of the refusals than this is left out."""
OPENERS = ("I", "As", "Sorry")
"""Stand in where the model refused nothing: its refusal score is then uncalibrated, and the measures say so."""


def refusal_tokens(first_tokens: Sequence[int], tokenizer: Any) -> dict[str, int]:
    """Text -> id of the refusal tokens, the most frequent first.

    Args:
        first_tokens: the first token of each completion that a judge calls a refusal.
        tokenizer: of the model.
    """
    counts = Counter(first_tokens)
    ids = [token for token, count in counts.most_common() if count >= LEAST_SHARE * len(first_tokens)]
    if not ids:
        ids = [int(tokenizer(word, add_special_tokens=False)["input_ids"][0]) for word in OPENERS]
    return {str(tokenizer.convert_ids_to_tokens(token)): token for token in ids}
