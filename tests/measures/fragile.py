"""A planted model whose refusal any disturbance breaks: a late block takes refusal back wherever the stream is not as
it always is. Harmless prompts, which have no refusal to take back, do not notice."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from tests.model.planted import HARMFUL, HARMLESS, LAYERS, Planted

GAIN = 1.0
"""Of what is taken back, per unit of disturbance squared, about."""


@torch.no_grad()
def fragile_checkpoint(planted: Planted, folder: Path) -> Planted:
    """A copy of a planted checkpoint (carrier at position −1) with the last block's MLP as an alarm.

    Pairs of neurons look along ±w, for w beside all that the last token usually holds: SiLU(z) + SiLU(−z) =
    z tanh(z / 2) is 0 there and grows whichever way the stream is moved. It is multiplied by what there is of refusal
    and subtracted from it.
    """
    shutil.copytree(planted.folder, folder)
    model, tokenizer = LlamaForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    usual = torch.stack([_last(model, tokenizer, text) for text in (*HARMFUL, *HARMLESS)])
    spanned = torch.linalg.svd(torch.cat([usual, planted.direction[None]]), full_matrices=False).Vh
    mlp = model.model.layers[LAYERS - 1].mlp
    pairs = mlp.gate_proj.out_features // 2
    looks = torch.randn(pairs, spanned.shape[1], generator=torch.Generator().manual_seed(1))
    looks -= (looks @ spanned.T) @ spanned
    looks /= looks.norm(dim=-1, keepdim=True)
    mlp.gate_proj.weight.copy_(torch.cat([looks, -looks]))
    mlp.up_proj.weight.copy_(planted.direction.expand(2 * pairs, -1))
    mlp.down_proj.weight.copy_(-GAIN * planted.direction[:, None].expand(-1, 2 * pairs))
    model.save_pretrained(folder)
    return dataclasses.replace(planted, folder=folder)


def _last(model: LlamaForCausalLM, tokenizer: AutoTokenizer, text: str) -> torch.Tensor:
    """The stream at the last token, as the last block gets it, [d]."""
    ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
    ids = ids["input_ids"] if not isinstance(ids, list) else ids
    return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYERS - 1][0, -1]
