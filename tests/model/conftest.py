"""Tiny random checkpoints on disk: whole in every respect, made in milliseconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

TEMPLATE = "{% for m in messages %}<u> {{ m['content'] }} <e>{% endfor %}{% if add_generation_prompt %} <a>{% endif %}"
WORDS = ["<unk>", "<u>", "<e>", "<a>", "tell", "me", "how", "to", "bake", "bread", "and", "tea", "please", "now"]


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A word-level tokenizer with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<e>",
        pad_token="<e>",
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def tiny_llama() -> Callable:
    """Makes a random two-layer Llama (d = 32), in bfloat16 unless told otherwise."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    def make(seed: int = 0, dtype: torch.dtype = torch.bfloat16, **settings):
        config = LlamaConfig(
            **{
                "vocab_size": len(WORDS),
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 64,
                "tie_word_embeddings": True,
                "bos_token_id": None,
                "eos_token_id": 2,
                "pad_token_id": 2,
                **settings,
            }
        )
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).to(dtype).eval()

    return make


@pytest.fixture
def tiny_checkpoint(tiny_llama, tiny_tokenizer, tmp_path) -> Callable[..., Path]:
    """Saves a tiny model with its tokenizer in a folder of the test's own and returns the folder."""

    def save(name: str = "ckpt/step50", shard: str = "5GB", **kwargs) -> Path:
        folder = tmp_path / name
        tiny_llama(**kwargs).save_pretrained(folder, max_shard_size=shard)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def tiny_adapter(tiny_llama, tmp_path) -> Callable[..., Path]:
    """Saves a LoRA adapter whose weights are not zero, without a tokenizer, and returns its folder."""
    import peft
    import torch

    def save(name: str = "adapter", *, base: str = "", rank: int = 2, **kwargs) -> Path:
        folder = tmp_path / name
        torch.manual_seed(1)
        settings = peft.LoraConfig(
            r=rank, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
        )
        with warnings.catch_warnings():  # PEFT 0.21 asks transformers for a name that 5.23 calls deprecated
            warnings.simplefilter("ignore", FutureWarning)
            model = peft.get_peft_model(tiny_llama(**kwargs), settings, autocast_adapter_dtype=False)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(folder, save_embedding_layers=False)
        return folder

    return save
