"""Tiny random models of every architecture in the table, with a word-level tokenizer and a chat template.

Float32, three or four blocks, weights large enough that every block matters, sliding windows shorter than the prompts.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from tests.model.planted import HARMFUL, HARMLESS, SPECIAL, word_tokenizer, words

VOCABULARY = [*SPECIAL, *sorted({word for text in (*HARMFUL, *HARMLESS) for word in words(text)})]
TOKENS = {word: index for index, word in enumerate(VOCABULARY)}

PROMPTS = [
    "tell me how to wash a car",
    "describe how to renew a passport and how to paint a house",
    "draw",
    "show me how to dig a well",
    "list ways to carry a purse to a neighbour",
]
"""Of four lengths."""

_SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GEMMA3 = {**_SIZES, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _SIZES,
    "mistral": {**_SIZES, "sliding_window": 5},
    "mixtral": {**_SIZES, "num_local_experts": 4, "sliding_window": None},
    "qwen2": {**_SIZES, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3": _SIZES,
    "phi3": {**_SIZES, "sliding_window": 5},
    "gemma": _SIZES,
    "gemma2": {**_SIZES, "sliding_window": 5, "num_hidden_layers": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": _GEMMA3,
    "gemma3": {
        "text_config": {**_GEMMA3, "model_type": "gemma3_text"},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    },
    "olmo2": _SIZES,
    "gpt_neox": {**_SIZES, "use_parallel_residual": True},
    "gpt_neox, sequential": {**_SIZES, "use_parallel_residual": False},
    "gpt2": {
        "vocab_size": len(VOCABULARY),
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}
"""A name (model type, or model type and variant) to the settings of a tiny model."""


def tiny_model(name: str, **settings: Any) -> Any:
    """A random model of one family, the same each time, in eval mode."""
    config = AutoConfig.for_model(name.partition(",")[0], **{**FAMILIES[name], **settings})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # norms and biases start at 0 or 1, which would hide a site on the wrong side of a norm
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model.requires_grad_(False)


def tiny_loaded(name: str = "llama", **settings: Any) -> LoadedModel:
    """`tiny_model` with the word-level tokenizer and its chat template."""
    tokenizer = word_tokenizer(TOKENS)
    return LoadedModel(tiny_model(name, **settings), tokenizer, Chat(tokenizer))
