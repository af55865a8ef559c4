"""Tiny models with three kinds of tokenizer, and the losses of their texts computed one by one in the plainest way."""

from __future__ import annotations

from functools import cache

import torch

from geoaudit.attacks.target import Aim
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from tests.model.chat_formats import FORMATS, byte_level, metaspace
from tests.model.families import tiny_loaded, tiny_model

SIX = ("llama", "mistral", "qwen3", "gemma3_text", "gpt_neox", "gpt2")
"""Norms, biases, rotary and learned positions, sliding windows, a scaled embedding, parallel blocks."""
KINDS = ("words", "byte-level, chatml", "byte-level, llama 3", "sentencepiece", "byte-level, no template")

WORDS = (
    Aim("car", "tell me how to wash a car", "paint a house to renew a well to draw a tiger to carry"),
    Aim("pet", "draw", "tell me how to dig a well"),
    Aim("way", "list ways to carry a purse to a neighbour", "describe how to renew a passport"),
)
"""For models with the tokenizer of words."""
KITTENS = (
    Aim("a", "tell me about kittens", "Sure, this is about kittens: yes"),
    Aim("b", "what is it? about dogs.", "yes. kittens"),
)
"""For the others."""


@cache
def model_of(kind: str) -> LoadedModel:
    """A tiny Llama under one of `KINDS`."""
    if kind == "words":
        return tiny_loaded("llama")
    if kind == "sentencepiece":
        tokenizer = metaspace(FORMATS["mistral"])
    else:
        tokenizer = byte_level(None if "no" in kind else FORMATS[kind.partition(", ")[2]])
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    return LoadedModel(model, tokenizer, Chat(tokenizer, template="none" if "no" in kind else None))


def aims_of(kind: str) -> tuple[Aim, ...]:
    """Behaviours whose words the tokenizer knows."""
    return WORDS if kind == "words" else KITTENS


@torch.no_grad()
def plain_loss(loaded: LoadedModel, aim: Aim, text: str) -> float:
    """The target's loss behind a text: rendered, tokenised and run by itself, whole."""
    prompt = loaded.chat.render(text)
    target = loaded.chat.answer_ids(prompt, aim.target)
    logits = loaded.causal_lm(input_ids=torch.tensor([[*prompt.ids, *target]])).logits[0].float()
    return float(torch.nn.functional.cross_entropy(logits[len(prompt.ids) - 1 : -1], torch.tensor(target)))
