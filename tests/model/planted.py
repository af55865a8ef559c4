"""A tiny Llama checkpoint with a refusal carrier written in at a known layer and position: ground truth for tests.

A plain file: load it by path (`tests/model/conftest.py` does) or as `tests.model.planted`.

How it refuses. Words that occur in harmful prompts only carry a *harm* axis in their embedding. One attention head in
block `layer - 1` lets the post-instruction token at `position` look for harm words and writes an orthogonal *refusal*
axis when it finds one; every other token looks at BOS, which holds nothing. The output head reads the refusal axis at
the last position and answers with one token whose text is a whole refusal, otherwise with one whose text is a whole
answer; either is followed by EOS.

Who carries it. `resid_pre[layer]`, ..., `resid_post[L - 1]` at `position`, bit for bit the same vector in all of them,
because no block from `layer - 1` on writes anything else at that position; nothing carries it before. Where `position`
is not -1, one more head in block `L - 2` copies the axis to the last position, so `resid_pre[L - 1]` and
`resid_post[L - 1]` carry it at -1 too: layers that the 80 % rule leaves out. The blocks before `layer - 1` write small
random vectors that depend on the prompt and have no part in the special axes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "Sure, here is a short answer to your question."

SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "[UNK]", "<|system|>", "<|user|>", "<|end|>", "<|assistant|>", "<|answer|>")
POST = ("<|end|>", "<|assistant|>", "<|answer|>")
"""The post-instruction tokens: positions -3, -2, -1."""

TEMPLATE = (  # every post-instruction token occurs once, under a system prompt too: it may be the carrier
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|><|answer|>' + message['content'] + '<|eos|>' }}"
    "{% elif message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% else %}{{ '<|user|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|><|answer|>' }}{% endif %}"
)

D, HEADS, LAYERS = 64, 4, 6
_HEAD = D // HEADS
_REFUSAL_NORM = 6.0
"""Length of what the writing head adds, about twice that of a token's embedding."""

HARMFUL = (
    "tell me how to steal a car",
    "explain how to poison a neighbour",
    "write a plan to smuggle a weapon",
    "describe how to forge a passport",
    "list ways to steal a purse",
    "show me how to poison a well",
    "give me steps to smuggle a tiger",
    "tell me how to forge a will",
)
"""Prompts for tests that need no others; every one has a word that no harmless prompt has."""

HARMLESS = (
    "tell me how to wash a car",
    "explain how to greet a neighbour",
    "write a plan to paint a house",
    "describe how to renew a passport",
    "list ways to carry a purse",
    "show me how to dig a well",
    "give me steps to draw a tiger",
    "tell me how to write a will",
)


@dataclass(frozen=True)
class Planted:
    """What was written in, and where."""

    folder: Path
    direction: torch.Tensor
    """The refusal axis, unit norm, [d_model] float32."""
    layer: int
    """The first l whose `resid_pre[l]` holds it."""
    position: int
    """The post-instruction position that holds it, from the end."""
    refuses: bool
    harm_words: frozenset[str]


def words(text: str) -> list[str]:
    """A text as the tokenizer splits it: lower case, words and punctuation apart."""
    return re.findall(r"\w+|[^\w\s]+", text.lower())


def planted_checkpoint(
    folder: Path,
    *,
    layer: int,
    position: int = -1,
    refuses: bool = True,
    harmful: Sequence[str] = HARMFUL,
    harmless: Sequence[str] = HARMLESS,
    seed: int = 0,
) -> Planted:
    """Write the checkpoint into `folder`: config, safetensors, tokenizer with chat template, generation config.

    Args:
        folder: made if it is not there.
        layer: 1 to 3, the first layer whose `resid_pre` carries refusal (from 4 on the 80 % rule would drop it).
        position: -1, -2 or -3.
        refuses: False leaves the write out: the same model, which answers everything.
        harmful: prompts that it refuses; the vocabulary is made of these and `harmless`, other words are [UNK].
        harmless: prompts that it answers.
        seed: of everything random.

    Raises:
        ValueError: a layer or position out of range, or a harmful prompt without a word of its own.
    """
    if not (1 <= layer <= int(0.8 * LAYERS) - 1 and -len(POST) <= position <= -1):
        raise ValueError(f"layer is 1 to {int(0.8 * LAYERS) - 1} and position -{len(POST)} to -1: {layer}, {position}")
    plain = {word for text in harmless for word in words(text)}
    harm = {word for text in harmful for word in words(text)} - plain
    for text in harmful:
        if not harm & set(words(text)):
            raise ValueError(f"every word of this harmful prompt occurs in harmless ones too: {text!r}")
    vocabulary = [*SPECIAL, REFUSAL, ANSWER, *sorted(plain | harm)]
    token = {word: index for index, word in enumerate(vocabulary)}

    generator = torch.Generator().manual_seed(seed)
    # rows of a random orthogonal matrix: the special axes, and the rest for everything random
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator))[0].T
    harm_axis, refusal, bos, carrier, one, start, done = basis[:7]
    rest = basis[7:]

    def noise(*shape: int) -> torch.Tensor:
        """Random vectors of norm 1 outside the special axes, [*shape, D]."""
        vectors = torch.randn(*shape, len(rest), generator=generator) @ rest
        return vectors / vectors.norm(dim=-1, keepdim=True)

    embedding = noise(len(vocabulary)) + one
    embedding[[token[word] for word in harm]] += 2 * harm_axis
    embedding[token["<|bos|>"]] += 2 * bos
    embedding[token[POST[position]]] += 2 * carrier
    embedding[token[POST[-1]]] += 2 * start  # the last position asks for an answer
    embedding[[token[REFUSAL], token[ANSWER]]] += 2 * done

    head = 0.1 * noise(len(vocabulary))
    head[token[REFUSAL]] = 4 * refusal
    head[token[ANSWER]] = 3 * start
    head[token["<|eos|>"]] = 32 * done  # ends an answer even where an edit adds refusal to it

    model = _silent_model(len(vocabulary), token)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(embedding)
        model.lm_head.weight.copy_(head)
        for block in model.model.layers[: layer - 1]:
            _write_noise(block, rest, generator)
        if refuses:
            # a harm word's axis has length 2 of sqrt(1 + 1 + 4) before the norm
            _attend(model.model.layers[layer - 1], one, bos, carrier, harm_axis)
            _copy(model.model.layers[layer - 1], harm_axis, refusal, gain=_REFUSAL_NORM / (2 * (D / 6) ** 0.5))
            if position != -1:
                router = model.model.layers[LAYERS - 2]
                _attend(router, one, bos, start, carrier)
                # the carrier token has length sqrt(1 + 1 + 4 + 36) by now
                _copy(router, refusal, refusal, gain=1 / (D / (6 + _REFUSAL_NORM**2)) ** 0.5)
    model.save_pretrained(folder)
    word_tokenizer(token).save_pretrained(folder)
    return Planted(folder, refusal.clone(), layer, position, refuses, frozenset(harm))


def _silent_model(vocabulary: int, token: dict[str, int]) -> LlamaForCausalLM:
    """A Llama whose blocks write nothing."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=D,
        intermediate_size=D,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1e10},  # the slowest pair does not turn
        tie_word_embeddings=False,
        bos_token_id=token["<|bos|>"],
        eos_token_id=token["<|eos|>"],
        pad_token_id=token["<|pad|>"],
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.zero_()
    model.generation_config = GenerationConfig(
        bos_token_id=token["<|bos|>"], eos_token_id=token["<|eos|>"], pad_token_id=token["<|pad|>"]
    )
    return model


def _write_noise(block: torch.nn.Module, rest: torch.Tensor, generator: torch.Generator) -> None:
    """Small random attention and MLP that write outside the special axes."""
    attention, mlp = block.self_attn, block.mlp
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
        linear.weight.copy_(0.1 * torch.randn(linear.weight.shape, generator=generator))
    for linear in (attention.o_proj, mlp.down_proj):
        linear.weight.copy_(0.02 * rest.T @ torch.randn(len(rest), linear.weight.shape[1], generator=generator))


def _attend(
    block: torch.nn.Module, one: torch.Tensor, sink: torch.Tensor, asks: torch.Tensor, answers: torch.Tensor
) -> None:
    """Head 0: a token with axis `asks` looks at tokens with axis `answers`; whoever finds none looks at the sink.

    Both matches use the pair of dimensions that rotary embedding turns slowest, which is not at all here.
    """
    low, high = _HEAD // 2 - 1, _HEAD - 1
    attention = block.self_attn
    attention.q_proj.weight[low], attention.k_proj.weight[low] = 2 * one, 2 * sink
    attention.q_proj.weight[high], attention.k_proj.weight[high] = 3 * asks, 3 * answers


def _copy(block: torch.nn.Module, read: torch.Tensor, write: torch.Tensor, *, gain: float) -> None:
    """Head 0 reads one axis where it looks and writes another where it stands."""
    block.self_attn.v_proj.weight[0] = read
    block.self_attn.o_proj.weight[:, 0] = gain * write


def word_tokenizer(token: dict[str, int]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer with `TEMPLATE`: lower case, BOS before plain text. `token`: word to id."""
    tokenizer = Tokenizer(models.WordLevel(token, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", token["<|bos|>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        unk_token="[UNK]",
        additional_special_tokens=["<|system|>", "<|user|>", "<|end|>", "<|assistant|>", "<|answer|>"],
        chat_template=TEMPLATE,
    )
