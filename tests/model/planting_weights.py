"""How attention heads are written into the weights of each architecture, and how the stream is read back.

A head that finds something by a match of axes, and copies one axis to another, needs only views of four projections in
one shape; where a norm stands between a writer and the stream, a constant part keeps the norm from rescaling what is
written (`Weights.steady`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from geoaudit.model.architecture import TABLE

D, HEADS, LAYERS = 64, 8, 8
PLACES = 512
"""Longest prompt, in tokens."""
_HEAD = D // HEADS
_LOW, _HIGH = _HEAD // 2 - 1, _HEAD - 1
"""The pair of dimensions that rotary embedding turns slowest: here not at all."""
_SIZES: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": _HEAD,
    "max_position_embeddings": PLACES,
    "tie_word_embeddings": False,
}
_GPT2 = {"n_embd": D, "n_inner": 32, "n_layer": LAYERS, "n_head": HEADS, "n_positions": PLACES}
_ROPE = {"rope_type": "default", "rope_theta": 1e10}
_MORE: dict[str, dict[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": _HEAD},
    "gpt_neox": {"rope_parameters": {**_ROPE, "partial_rotary_factor": 0.25}},
}
BALLAST = 4.0
"""How much longer the constant part is than all that a block with a norm behind its writers writes."""


def silent_model(family: str, vocabulary: int, token: dict[str, int]) -> Any:
    """A model of one architecture whose blocks write nothing, in eval mode."""
    sizes = {**_GPT2, "tie_word_embeddings": False} if family == "gpt2" else {**_SIZES, "rope_parameters": _ROPE}
    config = AutoConfig.for_model(
        family,
        **{**sizes, **_MORE.get(family, {})},
        vocab_size=vocabulary,
        bos_token_id=token["<|bos|>"],
        eos_token_id=token["<|eos|>"],
        pad_token_id=token["<|pad|>"],
    )
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.zero_()
    return model


class _Reached(Exception):
    """The rest of a forward pass is not needed."""


@torch.no_grad()
def stream(model: Any, prompts: Sequence[Sequence[int]], layer: int, position: int) -> Tensor:
    """The residual stream before block `layer` (after the last for `LAYERS`) at a position of each prompt, [n, d]."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])  # padding comes later
    row = TABLE[model.config.model_type]
    found: list[Tensor] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _Reached

    module = row.final_norm if layer == LAYERS else f"{row.blocks}.{layer}"
    handle = model.get_submodule(module).register_forward_pre_hook(look, with_kwargs=True)
    try:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except _Reached:
        pass
    finally:
        handle.remove()
    return found[0][range(len(prompts)), [len(prompt) + position for prompt in prompts]]


class Weights:
    """The parts of a model that are written, as views of one shape whatever the architecture."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.family: str = model.config.model_type
        row = TABLE[self.family]
        self.norm_after = row.norm_after_writer
        self.raw = self.family == "olmo2"
        """Whether attention and MLP read the stream as it is."""
        self.blocks: Any = model.get_submodule(row.blocks)
        for block in self.blocks:
            for name in ("q_norm", "k_norm"):  # sharpens the match: normed, queries and keys lose their lengths
                if hasattr(getattr(block, "self_attn", None), name):
                    getattr(block.self_attn, name).weight.fill_(3.0)

    def embed(self, vectors: Tensor, head: Tensor, places: Tensor) -> None:
        """Write token embeddings [vocabulary, d], output head [vocabulary, d] and, where learned, positions [n, d]."""
        scale = D**0.5 if self.family.startswith("gemma") else 1.0
        self.model.get_input_embeddings().weight.copy_(vectors / scale)
        self.model.get_output_embeddings().weight.copy_(head)
        if self.family == "gpt2":
            self.model.transformer.wpe.weight.copy_(places)

    def attend(self, block: int, head: int, one: Tensor, sink: Tensor, asks: Tensor, answers: Tensor) -> None:
        """A token with axis `asks` looks at tokens with axis `answers`; whoever finds none looks at the sink.

        `one` is held by every token. Its part in the keys meets nothing in the queries: it keeps a key that holds
        nothing else from being blown up by a norm.
        """
        query, key, _, _ = self._attention(block)
        query[head, _LOW], key[head, _LOW] = 2 * one, 2 * sink
        query[head, _HIGH], key[head, _HIGH] = 3 * asks, 6 * answers
        key[head, 0] = one

    def copy(self, block: int, head: int, read: Tensor, write: Tensor, gain: float) -> None:
        """A head reads one axis where it looks and writes another where it stands."""
        _, _, value, out = self._attention(block)
        value[head, 0] = read
        out[:, head, 0] = gain * write

    def steady(self, block: int, one: Tensor, largest: float) -> None:
        """Keep a norm behind attention from rescaling what is written there, up to lengths of `largest`.

        The last head writes a constant, four times as long as the rest, to the last coordinate, and the norm's weight
        is zero there: it sets the length that is divided by, and does not reach the stream.
        """
        if self.norm_after:
            _, _, value, out = self._attention(block)
            value[-1, 0] = one
            out[-1, -1, 0] = 1.0
            self._gain(self.blocks[block].post_attention_layernorm, BALLAST * largest / D**0.5)

    def noise(self, block: int, size: float, rest: Tensor, generator: torch.Generator, one: Tensor) -> None:
        """Random attention and MLP of a block, writing vectors of about this length within the rows of `rest`."""

        def within(width: int) -> Tensor:
            return rest.T @ torch.randn(len(rest), width, generator=generator)

        query, key, value, out = self._attention(block)
        for part in (query, key, value):
            part[0] = 0.1 * torch.randn(part[0].shape, generator=generator)
        inputs, output = self._mlp(block)
        for part in inputs:
            part.copy_(0.15 * torch.randn(part.shape, generator=generator))
        out[:, 0] = within(_HEAD)
        output.copy_(within(output.shape[1]))
        # calibrated on the token embeddings, normed as the block norms them
        rows = self.model.get_input_embeddings().weight
        read = rows if self.raw else rows * (D**0.5 / rows.norm(dim=-1, keepdim=True))
        out[:, 0] *= size / (out[:, 0] @ value[0] @ read.mean(dim=0)).norm()
        output *= size / self.blocks[block].mlp(read).norm(dim=-1).mean()
        if self.norm_after:
            self.steady(block, one, size)
            out[:, 0] *= (value[-1, 0] @ read.T).mean() / (BALLAST * size)
            self._gain(self.blocks[block].post_feedforward_layernorm, size / D**0.5)

    def _gain(self, norm: Any, gain: float) -> None:
        offset = 1.0 if self.family.startswith("gemma") else 0.0
        norm.weight.fill_(gain - offset)
        norm.weight[-1] = -offset

    def _attention(self, block: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views of a block's query, key and value weights [heads, head, d] and output weight [d, heads, head]."""
        module = self.blocks[block]
        shape = (HEADS, _HEAD)
        if self.family == "gpt2":  # stored transposed, the three side by side
            fused = module.attn.c_attn.weight.T.unflatten(0, (3, *shape))
            return (*fused, module.attn.c_proj.weight.T.unflatten(1, shape))
        if self.family == "gpt_neox":  # head by head
            fused = module.attention.query_key_value.weight.unflatten(0, (HEADS, 3, _HEAD)).transpose(0, 1)
            return (*fused, module.attention.dense.weight.unflatten(1, shape))
        attention = module.self_attn
        out = attention.o_proj.weight.unflatten(1, shape)
        if self.family == "phi3":
            return (*attention.qkv_proj.weight.unflatten(0, (3, *shape)), out)
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (part.weight.unflatten(0, shape) for part in parts)
        return query, key, value, out

    def _mlp(self, block: int) -> tuple[list[Tensor], Tensor]:
        """Views of a block's MLP: input weights [hidden, d], output weight [d, hidden]."""
        mlp = self.blocks[block].mlp
        if self.family == "gpt2":
            return [mlp.c_fc.weight.T], mlp.c_proj.weight.T
        if self.family == "gpt_neox":
            return [mlp.dense_h_to_4h.weight], mlp.dense_4h_to_h.weight
        if self.family == "phi3":
            return [mlp.gate_up_proj.weight], mlp.down_proj.weight
        return [mlp.gate_proj.weight, mlp.up_proj.weight], mlp.down_proj.weight
