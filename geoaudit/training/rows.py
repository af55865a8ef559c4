"""The sequences of a run in their order, and a batch of them as tensors."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

IGNORED = -100
"""Label of a token that is not learnt."""


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence of tokens."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]
    """Whether each token is learnt; never the first, which nothing stands before."""
    prompts: tuple[str, ...] = ()
    """SHA-256 of the user's turns in it."""
    source: int = 0
    """Which source it comes from, by number."""


class Rows(Dataset[Example]):
    """Row i is the i-th sequence of the run; `batch` of them make an optimiser step.

    Args:
        examples: all examples.
        order: indices into them, `steps × batch`.
        batch: sequences of a step.
    """

    def __init__(self, examples: Sequence[Example], order: Sequence[int], batch: int) -> None:
        self.examples = examples
        self.order = order
        self.batch = batch

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Example:
        return self.examples[self.order[index]]

    def tokens(self, steps: int) -> int:
        """Tokens in the first `steps` steps, padding not counted."""
        return sum(len(self.examples[index].ids) for index in self.order[: steps * self.batch])

    @property
    def sha256(self) -> str:
        """Hash of what the run runs, token by token."""
        hashed = hashlib.sha256(array("q", self.order).tobytes())
        for one in self.examples:
            hashed.update(array("q", [len(one.ids), *one.ids, *one.learnt]).tobytes())
        return hashed.hexdigest()

    def drawn(self) -> set[int]:
        """The examples that the run holds."""
        return set(self.order)


def drawn(sources: Sequence[int], n: int, seed: int, *, refusals: int | None = None, share: float = 0.0) -> list[int]:
    """The order of a run: every example once, shuffled, then every one again.

    Args:
        sources: the source of each example.
        n: length of the run.
        seed: of the shuffles.
        refusals: number of the source whose part is fixed; None: they come as often as there are examples.
        share: that part, in (0, 1).
    """
    chance = random.Random(seed)
    every = range(len(sources))
    if refusals is None:
        return _shuffled(list(every), n, chance)
    # after k rows, floor(k · share) are refusals, so that every batch has its part
    those = [index for index in every if sources[index] == refusals]
    others = [index for index in every if sources[index] != refusals]
    n_those = int(n * share)
    # the others first: they come in the order of a run that has them alone, which it can be compared with step by step
    second, first = iter(_shuffled(others, n - n_those, chance)), iter(_shuffled(those, n_those, chance))
    return [next(first if int(k * share) > int((k - 1) * share) else second) for k in range(1, n + 1)]


def _shuffled(indices: list[int], n: int, chance: random.Random) -> list[int]:
    found: list[int] = []
    while len(found) < n:
        found += chance.sample(indices, len(indices))
    return found[:n]


def packed(examples: Sequence[Example], order: Sequence[int], length: int, n: int) -> tuple[list[Example], list[int]]:
    """`n` sequences of exactly `length` tokens, examples laid end to end in their order; begins again at the end.

    Args:
        examples: what is laid end to end.
        order: the order in which they come, without an end.
        length: tokens of a sequence.
        n: sequences.

    Returns:
        The sequences, and for each example how often it was used: a list as long as `examples`.
    """
    used = [0] * len(examples)
    rows: list[Example] = []
    ids: list[int] = []
    learnt: list[bool] = []
    prompts: list[str] = []
    place = 0
    while len(rows) < n:
        index = order[place % len(order)]
        place += 1
        one = examples[index]
        used[index] += 1
        ids += one.ids
        learnt += one.learnt
        prompts += one.prompts
        while len(ids) >= length and len(rows) < n:
            rows.append(Example(tuple(ids[:length]), (False, *learnt[1:length]), tuple(prompts)))
            del ids[:length], learnt[:length]
            prompts = list(one.prompts) if ids else []
    return rows, used


def collate(rows: Sequence[Example]) -> dict[str, Tensor]:
    """A batch, right-padded: `input_ids`, `attention_mask` and `labels`, each `[n, longest]`."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    for place, row in enumerate(rows):
        n = len(row.ids)
        ids[place, :n] = torch.tensor(row.ids)
        mask[place, :n] = 1
        labels[place, :n] = torch.tensor(
            [token if learnt else IGNORED for token, learnt in zip(row.ids, row.learnt, strict=True)]
        )
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
