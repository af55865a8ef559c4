"""The two adversarial losses of R2D2, token by token (Mazeika et al. 2024, HarmBench's adversarial training code).

Each function gives one value a target token; the mean over all target tokens of a batch (not of per-example means) is
the loss. With several processes the sum and the number of tokens are added up first, so that a token weighs the same
wherever its case was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""Label of a token that no loss is taken on, as transformers has it."""


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


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; all tensors on the CPU.

    There is no mask: a causal model never looks to the right, so no token of a row sees its padding.
    """

    ids: Tensor
    """`[rows, width]` int64."""
    labels: Tensor
    """`[rows, width]` int64: the answers' ids at their own places, `IGNORED` elsewhere."""
    kept: int
    """Positions from the end whose logits are needed."""


def batch(rows: list[Row], pad: int) -> Batch:
    """Rows as one right-padded batch; `pad` is any token id."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for place, row in enumerate(rows):
        n = len(row.ids)
        ids[place, :n] = torch.tensor(row.ids)
        labels[place, len(row.prompt) : n] = torch.tensor(row.answer)
    return Batch(ids, labels, width - min(len(row.prompt) for row in rows) + 1)


def predicting(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The logits that predict labelled tokens, and those tokens.

    Args:
        logits: `[rows, kept, vocab]`, of the last `kept` positions.
        labels: `[rows, width]`, width at least `kept`.

    Returns:
        `[n, vocab]` and `[n]`, row by row.
    """
    wanted = labels[:, labels.shape[1] - logits.shape[1] + 1 :]
    place = wanted != IGNORED
    return logits[:, :-1][place], wanted[place]
