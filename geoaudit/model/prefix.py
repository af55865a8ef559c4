"""Forward passes over many prompts that begin alike: the shared beginning is computed once.

Chat prompts share everything up to the instruction (BOS, system prompt, the user turn's header). Its keys and values
are computed once, under whatever edits are active, and each batch of prompts only runs what differs. Suffixes are
padded on the right: a causal model never looks to the right, so no prompt sees its padding, no mask is needed, and the
result is that of each prompt alone (up to floating-point order; tested at 1e-4 in the logits for every architecture).

Edits must be the same for a prefix and its suffixes, so prefill inside the context that the passes run in.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geoaudit.errors import RequestError
from geoaudit.model.attention import short_rows
from geoaudit.model.chat import Rendered
from geoaudit.model.loaded import LoadedModel


@torch.no_grad()
def prefill(loaded: LoadedModel, ids: Sequence[int]) -> Any:
    """Keys and values of a shared prefix (a transformers cache, batch 1), or None for an empty one."""
    if not ids:
        return None
    tokens = torch.tensor([list(ids)], device=loaded.device)
    return loaded.decoder(input_ids=tokens, use_cache=True).past_key_values


def last_index(rendered: Sequence[Rendered], shared: int) -> Tensor:
    """Index of each prompt's last token within the padded suffixes, `[n]`: where captured tensors hold position −1."""
    return torch.tensor([len(prompt.ids) - shared - 1 for prompt in rendered])


@torch.no_grad()
def run_suffixes(loaded: LoadedModel, rendered: Sequence[Rendered], *, shared: int, cache: Any) -> Tensor:
    """One pass of the decoder over what follows the first `shared` tokens of each prompt.

    Args:
        loaded: the model; active hooks apply.
        rendered: the batch, n prompts whose first `shared` tokens agree.
        shared: length of the prefix that `cache` holds.
        cache: from `prefill`; copied, so it can be used again. None exactly when `shared` is 0.

    Returns:
        Normed decoder outputs `[n, longest suffix, d_model]` on the model's device (input of `loaded.logits`). Rows
        behind a prompt's last token (`last_index`) are padding and mean nothing.

    Raises:
        RequestError: the prompts do not share the first `shared` tokens, or `cache` holds another number of them.
    """
    held = 0 if cache is None else cache.get_seq_length()
    if held != shared or len({prompt.ids[:shared] for prompt in rendered}) != 1:
        raise RequestError(
            f"a shared prefix of {shared} tokens was promised: the cache holds {held}, and the {len(rendered)} prompts "
            "must begin with the same ones; take both from shared_prefix() over all prompts"
        )
    suffixes = [prompt.ids[shared:] for prompt in rendered]
    width = max(map(len, suffixes))
    # any id pads: nothing before it attends to it
    tokens = torch.tensor([[*suffix, *[suffix[-1]] * (width - len(suffix))] for suffix in suffixes])
    past = copy.deepcopy(cache)
    if past is not None:
        past.batch_repeat_interleave(len(rendered))
    with short_rows(loaded):
        outputs = loaded.decoder(input_ids=tokens.to(loaded.device), past_key_values=past, use_cache=past is not None)
    hidden: Tensor = outputs.last_hidden_state
    return hidden


@torch.no_grad()
def last_logits(loaded: LoadedModel, rendered: Sequence[Rendered], *, shared: int, cache: Any) -> Tensor:
    """Logits at the last token of each prompt, `[n, vocab]` float32 on the CPU; arguments as for `run_suffixes`.

    Non-finite values are passed on: under an edit they belong to the edit, and whoever scores it has to drop it.
    """
    hidden = run_suffixes(loaded, rendered, shared=shared, cache=cache)
    rows = torch.arange(len(rendered), device=hidden.device)
    last = last_index(rendered, shared).to(hidden.device)
    return loaded.logits(hidden[rows, last]).float().cpu()
