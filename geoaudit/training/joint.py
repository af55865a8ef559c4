"""The rows of one forward pass of R2D2, with the positions that a loss is taken on.

A micro-step learns from clean sequences and from prompts that have two answers each: the opening that was attacked, and
a refusal. All of them go through the model together. Both answers of a prompt stand in one row behind it, each at the
positions that follow the prompt and blind to the other, so that the prompt is run once; where a model's attention
cannot be told so (see `forks`), each answer has a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoaudit.model import architecture, attention
from geoaudit.training.learnt import predicting
from geoaudit.training.losses import Row

Targets = tuple[Tensor, Tensor]
"""Of n tokens: which of the prompts' wanted positions predicts each, and its id, `[n]` int64 both."""


@dataclass(frozen=True, slots=True)
class Joint:
    """Rows padded on the right; all tensors on the CPU.

    Without `seen` there is no mask: a causal model never looks to the right, so no token of a row sees its padding.
    """

    ids: Tensor
    """`[rows, width]` int64."""
    positions: Tensor | None
    """`[rows, width]` int64; None where every row counts from 0."""
    seen: Tensor | None
    """`[rows, 1, width, width]` bool, True where a token (third) sees another (fourth); None: all before it."""
    wanted: Tensor
    """`[rows, width]` bool: positions whose logits are needed, numbered row by row; the clean sequences' come first."""
    clean: Tensor
    """`[n]` int64: ids of the clean sequences' learnt tokens, which the first n of those positions predict."""
    away: Targets
    """The openings' tokens."""
    toward: Targets
    """The refusals' tokens."""

    @property
    def size(self) -> int:
        """Tokens that the model runs, with padding."""
        return self.ids.numel()

    def inputs(self, device: torch.device | str) -> dict[str, Tensor]:
        """What the model is called with."""
        found = {"input_ids": self.ids.to(device)}
        if self.positions is not None and self.seen is not None:
            found |= {"position_ids": self.positions.to(device), "attention_mask": self.seen.to(device)}
        return found


def forks(model: Any, longest: int) -> bool:
    """Whether two answers can stand behind one prompt in a row: the model takes a mask of pairs as it is.

    Args:
        model: a model of the architecture table, wrapped or not.
        longest: tokens of the longest row. A sliding window that is shorter would be lost under such a mask.
    """
    config: Any = architecture.causal_lm(model).config
    text = config.get_text_config()
    if config.model_type == "gemma3":  # asks where the pictures are
        return False
    window = getattr(text, "sliding_window", None)
    return text._attn_implementation in ("sdpa", attention.NAME) and (window is None or window >= longest)


def joint(clean: Mapping[str, Tensor] | None, away: Sequence[Row], toward: Sequence[Row], *, fork: bool) -> Joint:
    """The rows of a pass.

    Args:
        clean: a batch of `rows.collate`; None for none. Its rows come first.
        away: prompts with their openings.
        toward: the same prompts, in order, with their refusals.
        fork: whether both answers of a prompt share a row.

    Returns:
        The rows. The last token of an answer predicts nothing and is left out.
    """
    lines = _lines(away, toward, fork)
    n, width = (0, 0) if clean is None else clean["input_ids"].shape
    width = max([width, *(len(line.ids) for line in lines)])
    ids = torch.zeros(n + len(lines), width, dtype=torch.long)
    wanted = torch.zeros(n + len(lines), width, dtype=torch.bool)
    positions = torch.arange(width).repeat(n + len(lines), 1)
    seen = torch.ones(width, width, dtype=torch.bool).tril().repeat(n + len(lines), 1, 1, 1) if fork else None
    learnt = torch.arange(0)
    if clean is not None:
        given = clean["input_ids"].cpu()
        place, learnt = predicting(clean["labels"].cpu())
        ids[:n, : given.shape[1]], wanted[:n, : given.shape[1]] = given, place
    places: tuple[list[int], list[int]] = ([], [])
    first = 0
    for row, line in enumerate(lines, n):
        ids[row, : len(line.ids)] = torch.tensor(line.ids)
        wanted[row, line.prompt - 1 : len(line.ids)] = True
        if seen is not None:
            positions[row, line.second :] -= line.second - line.prompt
            seen[row, :, line.second :, line.prompt : line.second] = False
        for found, own in zip(places, (line.away, line.toward), strict=True):
            found += [first + place for place in own]
        first += len(line.ids) - line.prompt + 1
    openings, refusals = ([token for row in rows for token in row.answer] for rows in (away, toward))
    return Joint(
        ids,
        positions if fork else None,
        seen,
        wanted,
        learnt,
        (torch.tensor(places[0]), torch.tensor(openings)),
        (torch.tensor(places[1]), torch.tensor(refusals)),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A prompt's row: what is run of it, and what predicts which token, counted from its prompt's last token."""

    ids: tuple[int, ...]
    prompt: int
    """Tokens of the prompt."""
    second: int
    """Where the second answer begins; behind the end where there is none."""
    away: Sequence[int] = ()
    toward: Sequence[int] = ()


def _lines(away: Sequence[Row], toward: Sequence[Row], fork: bool) -> list[_Line]:
    if not fork:
        first = [_Line(row.ids[:-1], len(row.prompt), len(row.ids), away=range(len(row.answer))) for row in away]
        return first + [
            _Line(row.ids[:-1], len(row.prompt), len(row.ids), toward=range(len(row.answer))) for row in toward
        ]
    lines = []
    for one, other in zip(away, toward, strict=True):
        ids = (*one.prompt, *one.answer[:-1], *other.answer[:-1])
        n = len(one.answer)
        # the first token of either answer is predicted by the prompt's last
        behind = (0, *range(n, n + len(other.answer) - 1))
        lines.append(_Line(ids, len(one.prompt), len(one.prompt) + n - 1, range(n), behind))
    return lines
