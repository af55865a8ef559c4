"""What an optimised attack aims at, and the loss of a text that is sent.

The loss is the mean cross-entropy, in nats, of the target's tokens behind the rendered prompt (Zou et al. 2023,
"Universal and transferable adversarial attacks on aligned language models", section 2.1). It is always that of the text
as it is sent: rendered by the chat template and tokenised from end to end. A token sequence that no text gives has no
loss here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from geoaudit.attacks.passes import Kept, Row, run
from geoaudit.attacks.scoring import Losses, Put, losses
from geoaudit.errors import RequestError
from geoaudit.model.batches import TOKENS_OF_A_PASS
from geoaudit.model.loaded import LoadedModel

_PROBE = "Tell me about kittens."


@dataclass(frozen=True, slots=True)
class Aim:
    """One behaviour to be attacked."""

    id: str
    """The behaviour's id."""
    request: str
    """Its text, as it is put."""
    target: str
    """The affirmative opening whose likelihood is raised."""


def suffixed(request: str, suffix: str) -> str:
    """The user's turn: the request, one space and the suffix (as HarmBench joins them)."""
    return f"{request} {suffix}"


def target_ids(loaded: LoadedModel, target: str) -> tuple[int, ...]:
    """Token ids of a target as the model would write it behind a prompt, at least one.

    Raises:
        RequestError: the target is empty or blank.
    """
    if not target.strip():
        raise RequestError(f"the target is empty ({target!r}): give the opening whose likelihood the attack raises")
    return loaded.chat.answer_ids(loaded.chat.render(_PROBE), target)


def string_losses(loaded: LoadedModel, aims: Sequence[Aim], texts: Sequence[str]) -> Tensor:
    """Mean cross-entropy of each aim's target behind each text, in nats: the loss that is reported everywhere.

    Args:
        loaded: the model.
        aims: n aims; only their targets are read.
        texts: n user's turns, such as `suffixed(aim.request, suffix)`.

    Returns:
        `[n]` float32 on the CPU.

    Raises:
        RequestError: lists of different lengths, an empty text or target.
    """
    return text_losses(loaded, aims, texts).losses


@torch.no_grad()
def text_losses(loaded: LoadedModel, aims: Sequence[Aim], texts: Sequence[str]) -> Losses:
    """As `string_losses`, with whether each target is what the model would say, and the tokens it read.

    What the texts of one aim (by its id) begin with is computed once, and of it once what all texts begin with.
    """
    if len(aims) != len(texts):
        raise RequestError(f"one text an aim: got {len(aims)} aims and {len(texts)} texts")
    if not aims:
        return Losses(torch.empty(0), torch.empty(0, dtype=torch.bool), ())
    targets = {target: target_ids(loaded, target) for target in dict.fromkeys(aim.target for aim in aims)}
    prompts = [loaded.chat.render(text).ids for text in texts]
    groups: dict[str, list[int]] = {}
    for index, aim in enumerate(aims):
        groups.setdefault(aim.id, []).append(index)
    # a group of one shares with the others, and a prompt that is alone shares with nobody
    everything = _shared(prompts) if len(prompts) > 1 else 0
    starts = [_shared([prompts[i] for i in group]) if len(group) > 1 else everything for group in groups.values()]
    kept, like = begun(loaded, [prompts[own[0]][:n] for own, n in zip(groups.values(), starts, strict=True)])
    puts = {
        i: Put(prompts[i], targets[aims[i].target], begins, at)
        for group, begins, at in zip(groups.values(), starts, like, strict=True)
        for i in group
    }
    return losses(loaded, [puts[i] for i in range(len(prompts))], kept)


@torch.no_grad()
def begun(loaded: LoadedModel, heads: Sequence[tuple[int, ...]]) -> tuple[Kept | None, list[int]]:
    """Keys and values of what several groups of rows begin with.

    What all of them share is computed once where that saves more than a pass costs.

    Args:
        loaded: the model.
        heads: ids that the rows of each group begin with; may be empty.

    Returns:
        What was kept, None if all heads are empty, and the index in it of each head.
    """
    unique = list(dict.fromkeys(heads))
    if not any(unique):
        return None, [0] * len(heads)
    same = _shared(unique) if len(unique) > 1 else 0
    if same * (len(unique) - 1) <= TOKENS_OF_A_PASS:
        same = 0  # a pass of its own costs more than computing it for each
    root = run(loaded, [Row(unique[0][:same])], keep=True)[1] if same else None
    # a row has a token at least: an empty head gets any, which nothing reads
    rows = [Row(head[same:] or (0,), same) for head in unique]
    return run(loaded, rows, root, keep=True)[1], [unique.index(head) for head in heads]


class Heads:
    """What `begun` made, kept for further steps until other heads are asked for, or of another model or weights."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] | None = None
        self._made: tuple[Kept | None, list[int]] = (None, [])

    def of(self, loaded: LoadedModel, heads: Sequence[tuple[int, ...]]) -> tuple[Kept | None, list[int]]:
        """As `begun`."""
        # torch counts what is done to a tensor in place, which is how optimisers change weights
        asked = loaded.model, sum(weight._version for weight in loaded.model.parameters()), tuple(heads)
        if self._of != asked:
            self._made = begun(loaded, heads)
            self._of = asked
        return self._made


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Number of leading ids that all share; each keeps one of its own at least, unless it is empty."""
    low, high = min(prompts), max(prompts)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return max(min(same, min(map(len, prompts)) - 1), 0)
