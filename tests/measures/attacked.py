"""A planted checkpoint that refuses until a word stands in the prompt: what optimised attacks must find.

`tests.model.planted` with one more attention head: at the token that asks for an answer it looks for the *trigger* and,
where it finds one, writes the refusal axis the other way round, so that the model answers. An answer begins with the
token `sure`, which is the target that attacks make likelier, and ends with the planted answer. No other word of the
vocabulary has any part in either, so that without the trigger no suffix lowers the target's loss by much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from geoaudit.attacks.cases import Case, Cases
from geoaudit.records import PromptSet
from tests.model.planted import ANSWER, HARMFUL, HARMLESS, HEADS, POST, D, Planted, planted_checkpoint

TARGET, TRIGGER = "sure", "swordfish"
_SPARE = "well sure ! swordfish"
"""Words that no prompt has: the target, what suffixes begin with, the trigger."""
LAYER = 2
_HEAD = D // HEADS


def attackable(folder: Path, *, opens: bool = True, harmful: Sequence[str] = HARMFUL, seed: int = 0) -> Planted:
    """Write the checkpoint into `folder`.

    Args:
        folder: made if it is not there.
        opens: False leaves the trigger's head out: the negative control, which nothing opens.
        harmful: prompts that it refuses.
        seed: of everything random.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = planted_checkpoint(folder, layer=LAYER, harmful=harmful, harmless=(*HARMLESS, _SPARE), seed=seed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    vocabulary = tokenizer.get_vocab()
    answer, end, sure, trigger = (vocabulary[word] for word in (ANSWER, "<|eos|>", TARGET, TRIGGER))
    block, embedding, head = model.model.layers[LAYER - 1], model.model.embed_tokens.weight, model.lm_head.weight
    attention = block.self_attn
    low, high = _HEAD // 2 - 1, _HEAD - 1  # the pair that rotary embedding does not turn, as `planted` has it
    with torch.no_grad():
        one, asks = attention.q_proj.weight[low] / 2, attention.q_proj.weight[high] / 3
        sink, harm = attention.k_proj.weight[low] / 2, attention.k_proj.weight[high] / 3
        last = embedding[vocabulary[POST[-1]]]
        known = [one, asks, sink, harm, made.direction, head[answer] / 3, head[end] / 32, last]
        axis, said = _others(known, seed)
        # the answer begins with `sure`, and what follows `sure` is the answer
        embedding[sure] += 2 * head[answer] / 3 + 2 * said
        head[sure] = head[answer] - 8 * said + 0.1 * axis
        head[answer] += 4 * said - 0.5 * asks
        if opens:
            embedding[trigger] += 2 * axis
            attention.q_proj.weight[_HEAD + low], attention.k_proj.weight[_HEAD + low] = 2 * one, 2 * sink
            attention.q_proj.weight[_HEAD + high], attention.k_proj.weight[_HEAD + high] = 3 * asks, 3 * axis
            attention.v_proj.weight[_HEAD] = axis
            attention.o_proj.weight[:, _HEAD] = -2 * attention.o_proj.weight[:, 0]
    model.save_pretrained(folder)
    return made


def _others(known: Sequence[torch.Tensor], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two unit vectors orthogonal to those and to each other."""
    drawn = torch.randn(2, D, generator=torch.Generator().manual_seed(seed + 1))
    basis = torch.linalg.qr(torch.stack([*known, *drawn]).T)[0].T
    return basis[len(known)], basis[len(known) + 1]


def aimed_at(target: str) -> Callable[..., Cases]:
    """In place of `attacks.make.targeted`: every prompt's target is the token that an answer begins with."""

    def targeted(prompts: PromptSet, data: Path | None = None) -> Cases:
        return Cases(tuple(Case(prompt.id, prompt, prompt.text, prefill=target) for prompt in prompts.prompts))

    return targeted
