"""The two adversarial losses of R2D2, token by token (Mazeika et al. 2024, HarmBench's adversarial training code).

Each function gives one value a target token; the mean over all target tokens of a batch (not of per-example means) is
the loss. With several processes the sum and the number of tokens are added up first, so that a token weighs the same
wherever its case was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def away_terms(logits: Tensor, targets: Tensor, floor: float = -5.0) -> Tensor:
    """−log(1 − p) of each target token, and 0 where log p is below the floor.

    log(1 − p) is the log-sum-exp of all other logits minus that of all: finite where p rounds to 1.

    Args:
        logits: `[n, vocab]`, at the positions that predict the targets; any float type, computed in float32.
        targets: `[n]`, token ids.
        floor: log-probability (nats) below which a token is unlikely enough to add nothing.

    Returns:
        `[n]` float32, nats, 0 or more. Zeros of unlikely tokens stay in the mean's denominator.
    """
    logits = logits.float()
    chosen = targets.unsqueeze(-1)
    total = logits.logsumexp(-1)
    others = logits.scatter(-1, chosen, float("-inf")).logsumexp(-1)
    likely = logits.gather(-1, chosen).squeeze(-1) - total >= floor
    # `where` keeps the gradient of a token under the floor at exactly 0
    return torch.where(likely, total - others, torch.zeros_like(total))


def toward_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target token: `[n, vocab]` and `[n]` to `[n]` float32, nats."""
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


@dataclass(frozen=True, slots=True)
class Row:
    """A rendered prompt with an answer behind it, of which one loss is taken."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """What the model reads."""
        return self.prompt + self.answer
