"""Greedy completions of one batch of prompts.

A short decoding loop of our own instead of `generate`: nothing of the checkpoint's `generation_config.json` but its
end-of-sequence tokens can reach the result (a repetition penalty would change the text, sampling parameters raise
warnings), a finished prompt leaves the batch, and broken logits stop the run instead of becoming text. Agreement with
`generate` is tested for every architecture of the table; on two CPU cores it takes the same time per token.

In float32 a completion does not depend on its neighbours in the batch. In bfloat16 it does, so a batch is the unit
that is stored and repeated: the same batch gives the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model import thinking
from geoaudit.model.chat import Rendered
from geoaudit.model.loaded import LoadedModel
from geoaudit.records import Completion


@torch.no_grad()
def complete(
    loaded: LoadedModel, rendered: Sequence[Rendered], prompt_ids: Sequence[str], *, max_new_tokens: int
) -> list[Completion]:
    """The most likely continuation of each prompt, token by token.

    Args:
        loaded: the model; active edits apply to prompt and generated tokens.
        rendered: the batch, in the order of the batch plan.
        prompt_ids: one id a prompt, carried into the completions.
        max_new_tokens: where a completion is cut, at least 1.

    Returns:
        One completion a prompt, in order. `text` is without special tokens, but markers of thinking blocks stay even
        where they are special, so that an unfinished thought can be told from an answer. `n_tokens` counts the tokens
        before the end-of-sequence token, `stopped` says that there was one.

    Raises:
        RequestError: lists of different lengths, or no room for a token.
        BrokenCheckpoint: logits are NaN or infinite.
    """
    if len(rendered) != len(prompt_ids) or max_new_tokens < 1:
        raise RequestError(
            f"complete() needs one id a prompt and max_new_tokens >= 1: got {len(rendered)} prompts, "
            f"{len(prompt_ids)} ids and max_new_tokens={max_new_tokens}"
        )
    if not rendered:
        return []
    stop = stop_tokens(loaded)
    made: list[list[int]] = [[] for _ in rendered]
    stopped = [False] * len(rendered)
    rows = list(range(len(rendered)))  # prompts still in the batch

    tokens, mask = (tensor.to(loaded.device) for tensor in _left_padded(rendered))
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    past = None
    for _ in range(max_new_tokens):
        outputs = loaded.decoder(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
        )
        past = outputs.past_key_values
        chosen = _greedy(loaded.logits(outputs.last_hidden_state[:, -1]))
        going = []
        for index, token in enumerate(chosen.tolist()):
            if token in stop:
                stopped[rows[index]] = True
            else:
                made[rows[index]].append(token)
                going.append(index)
        if not going:
            break
        if len(going) < len(rows):
            kept = torch.tensor(going, device=chosen.device)
            past.batch_select_indices(kept)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            rows = [rows[index] for index in going]
        tokens = chosen[:, None]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        positions = positions[:, -1:] + 1
    return [
        Completion(prompt_id, _text(loaded, ids), len(ids), end, ids[0] if ids else None)
        for prompt_id, ids, end in zip(prompt_ids, made, stopped, strict=True)
    ]


def stop_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Tokens that end a completion: the generation config's, the tokenizer's EOS and the template's end of turn."""
    config = getattr(loaded.causal_lm, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    own = named if isinstance(named, list) else [named]
    every = [*own, loaded.tokenizer.eos_token_id, loaded.chat.end_of_turn()]
    return frozenset(int(token) for token in every if token is not None)


def _left_padded(rendered: Sequence[Rendered]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask `[n, longest]`. Padding is masked, so any id will do: the prompt's own first."""
    width = max(len(prompt.ids) for prompt in rendered)
    tokens = [[*[prompt.ids[0]] * (width - len(prompt.ids)), *prompt.ids] for prompt in rendered]
    mask = [[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in rendered]
    return torch.tensor(tokens), torch.tensor(mask)


def _greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row of `[n, vocab]`; the largest logit is NaN if any is."""
    best = logits.float().max(dim=-1)
    if not best.values.isfinite().all():
        raise BrokenCheckpoint(
            "logits are NaN or infinite, so there is no likeliest token: the weights are broken, or the dtype is too "
            "narrow for this model or for the edit that is active (float16 overflows where bfloat16 does not)"
        )
    return best.indices


def _text(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """Decoded without special tokens; markers of thinking are kept."""
    markers = {marker for pair in thinking.MARKERS for marker in pair}
    added = loaded.tokenizer.added_tokens_decoder
    hidden = {token for token, about in added.items() if about.special and about.content not in markers}
    text: str = loaded.tokenizer.decode(
        [token for token in ids if token not in hidden], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
