"""Where the residual stream can be read in each supported architecture: one explicit table.

A block adds two things to the stream, what attention writes and what the MLP writes::

    resid_pre ──► + attn_out ──► resid_mid ──► + mlp_out ──► resid_post        (sequential blocks)
    resid_pre ──► + attn_out + mlp_out ──► resid_post                          (parallel blocks: no resid_mid)

The table names, for every model type, the modules whose *output* is exactly what is added. In Gemma 2, Gemma 3 and
OLMo 2 that is the norm behind the writer, not the writer (`norm_after_writer`), so an edit of the writer's own output
would be rescaled before it reaches the stream.

Imports nothing heavy: a model type is checked before anything is loaded.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoaudit.errors import UnknownArchitecture, did_you_mean

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Dotted paths of the modules that geoaudit reads, as transformers 5 names them."""

    blocks: str
    """From the causal language model to the list of blocks; its parent is the decoder."""
    attention: str
    """Within a block: the module whose output is what attention adds to the stream."""
    mlp: str
    """Within a block: the module whose output is what the MLP adds to the stream."""
    mid: str | None
    """Within a block: the module whose input is `resid_mid`; None where attention and MLP run in parallel."""
    final_norm: str
    """From the causal language model: the norm between the last block and the output head."""
    embedding: str
    """From the causal language model: the token embedding."""
    norm_after_writer: bool = False
    """True where a norm stands between a writer (attention, MLP) and the stream."""

    @property
    def decoder(self) -> str:
        """From the causal language model to the module that runs the blocks and the final norm."""
        return self.blocks.rpartition(".")[0]


_LLAMA = Architecture(
    blocks="model.layers",
    attention="self_attn",
    mlp="mlp",
    mid="post_attention_layernorm",
    final_norm="model.norm",
    embedding="model.embed_tokens",
)
_GEMMA2 = dataclasses.replace(
    _LLAMA,
    attention="post_attention_layernorm",
    mlp="post_feedforward_layernorm",
    mid="pre_feedforward_layernorm",
    norm_after_writer=True,
)

TABLE: dict[str, Architecture] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    # the text half of a multimodal Gemma 3; pictures are never passed
    "gemma3": dataclasses.replace(
        _GEMMA2,
        blocks="model.language_model.layers",
        final_norm="model.language_model.norm",
        embedding="model.language_model.embed_tokens",
    ),
    "olmo2": dataclasses.replace(
        _LLAMA,
        attention="post_attention_layernorm",
        mlp="post_feedforward_layernorm",
        mid="mlp",  # OLMo 2 has no norm before its writers
        norm_after_writer=True,
    ),
    # with `use_parallel_residual`, as every released one; `of` fills in `mid` where it is switched off
    "gpt_neox": Architecture(
        blocks="gpt_neox.layers",
        attention="attention",
        mlp="mlp",
        mid=None,
        final_norm="gpt_neox.final_layer_norm",
        embedding="gpt_neox.embed_in",
    ),
    "gpt2": Architecture(
        blocks="transformer.h",
        attention="attn",
        mlp="mlp",
        mid="ln_2",
        final_norm="transformer.ln_f",
        embedding="transformer.wte",
    ),
}
"""Model type (`config.json`) to where its stream is read. Checked against each model's own tensors in the tests."""


def check_model_type(model_type: str) -> None:
    """Raise UnknownArchitecture unless the table holds `model_type`; needs no model."""
    if model_type not in TABLE:
        known = sorted(TABLE)
        raise UnknownArchitecture(
            f"no entry for model type {model_type!r}{did_you_mean(model_type, known)}; known: {', '.join(known)}. "
            "Pass a checkpoint of one of these types, or add a row for it to TABLE in geoaudit/model/architecture.py "
            "(the tests then check it against a tiny random model) or ask for one."
        )


def causal_lm(model: nn.Module) -> nn.Module:
    """The transformers model itself: `model`, or what a PEFT wrapper holds, its adapter layers included."""
    unwrap: Any = getattr(model, "get_base_model", None)
    return unwrap() if unwrap is not None else model


def of(model: nn.Module) -> Architecture:
    """The row of `TABLE` for a loaded causal language model or a PEFT model around one.

    Raises:
        UnknownArchitecture: its model type is not in the table.
    """
    config: Any = causal_lm(model).config
    check_model_type(config.model_type)
    row = TABLE[config.model_type]
    if config.model_type == "gpt_neox" and not config.use_parallel_residual:
        return dataclasses.replace(row, mid="post_attention_layernorm")
    return row
