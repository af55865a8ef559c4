"""Checkpoints of eight architectures with refusal written in as told: the ground truth of the carrier search.

`Planting` says what is written; `plant` writes it. (`tests.model.planted` is one such Llama whose later layers repeat
the carrier bit for bit, which is what tests of ties need. Here no two places are alike.)

How it refuses. Some words are triggers. For every planted axis, one attention head of block `layer - 1` lets the
post-instruction token at `position` look for triggers and writes the axis there; all other tokens look at BOS, which
holds nothing. In the last block, whose output no candidate is read from, the last token reads every axis where it was
written and adds what each one *drives* to the refusal component of its own stream. The output head refuses where that
sum passes `THRESHOLD`, a third of the whole.

What a search should find. With several axes each drives less than two thirds of the sum, and the first one more than a
third: taking any one of them away leaves a refusal, adding the first one makes one. So the best single direction is
the first axis, and the best place the first layer that holds it: the next block, where it finds the axis, writes a
little of a *drift* axis beside it, which nothing reads, so that the difference in means at later layers points beside
the axis. That holds for edits at every site. An affine edit at one layer is as good at a later one.

What rank it has. The other axes are written no later than the first one, each at a position of its own. So the stack
of differences in means (positions × layers), and the one of the carrier's layer alone, has the planted axes for its
leading singular vectors, but for the drift; `Sown.field` is that stack as planted, from which spectrum and subspaces
follow. Ablating fewer axes than all leaves more than a tenth of what ablating all of them does.

What is coupled. Words behind a harm word (one that occurs in harmful prompts only) carry a harmfulness axis at a known
angle to the first axis, from `resid_pre[1]` on. Nothing reads it. Triggers are the harm words unless told otherwise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig

from tests.model.planted import ANSWER, POST, REFUSAL, SPECIAL, word_tokenizer, words
from tests.model.planting_weights import LAYERS, PLACES, D, Weights, silent_model, stream

FAMILIES = ("llama", "mistral", "phi3", "qwen3", "gemma2", "olmo2", "gpt_neox", "gpt2")
"""Norm before the writers (llama, mistral), with fused weights (phi3) or normed queries and keys (qwen3); norms before
and behind the writers (gemma2), only behind them (olmo2); attention and MLP in parallel (gpt_neox); learned positions
(gpt2)."""

ANSWERS = tuple(ANSWER.replace("short", word) for word in ("short", "plain", "brief", "full", "long", "clear"))
"""Equally likely but for noise, so that the next token of harmless prompts shows it when an edit disturbs the model."""
SEARCHED = int(0.8 * LAYERS)
"""Layers from here on are left out by the 80 % rule."""
DRIVEN = 8.0
"""Refusal component of a harmful prompt at the last token, in units of the stream."""
THRESHOLD = DRIVEN / 3
SHARES = {1: (1.0,), 2: (0.57, 0.43), 3: (0.5, 0.3, 0.2)}
"""Rank -> what each axis drives, as a share of `DRIVEN`."""
NORMS = (1.5, 1.25, 1.0)
"""Of the axes; a template token's embedding has 2.3."""
DRIFT = 0.3
"""What the next block writes beside the first axis."""
NOISE = 0.04
"""Length of what a block without a planted head writes at random."""
HARM_NORM = 2.0
"""Of the harmfulness axis behind harm words."""
MARK = 0.7
"""By how much the embedding of a harm word, or of a trigger, is marked as one. Small, because it also stands at the
last token of an instruction, where only the harmfulness axis should."""

CALIBRATED = 16
"""Prompts of either kind on which lengths are measured."""

Kind = Literal["absent", "elsewhere", "constant", "norm"]
KINDS: tuple[Kind, ...] = ("absent", "elsewhere", "constant", "norm")
"""What must never yield a trusted carrier. *absent*: harm is seen and written as ever, but nothing reads it, and the
model refuses nothing. *elsewhere*: it refuses, but straight from the words in the last block, and the sites of all
candidates hold noise. *constant*: the same without noise, so that the template's tokens are the same at every layer
whatever the prompt. *norm*: as *elsewhere*, with a harm axis of twelve times the usual norm in the last two searched
layers that nothing reads."""


_Contrast = tuple[list[list[int]], list[list[int]]]


@dataclass(frozen=True)
class Axis:
    """A direction that holds, at one token, whether the prompt has a harm word."""

    layer: int
    """The first l whose `resid_pre[l]` holds it, from 1."""
    position: int
    """−1 to −3."""
    norm: float
    """Length of what is written, in units of the stream."""
    drives: float
    """What it adds to the refusal component of the last token; 0: nothing reads it."""


@dataclass(frozen=True)
class Planting:
    """What is to be written."""

    family: str
    axes: tuple[Axis, ...]
    """The carrier first."""
    seed: int
    """Of everything random in the weights."""
    direct: float = 0.0
    """What the last block adds to the refusal component straight from harm words, past every candidate site."""
    noise: float = NOISE
    """Length of what blocks without a planted head write, outside the special axes."""
    drift: float = DRIFT
    """Length of what is written beside the first axis in the next block."""
    angle: float = 60.0
    """Degrees between the harmfulness axis at the instruction's tokens and the first axis."""

    @property
    def rank(self) -> int:
        """Planted axes."""
        return len(self.axes)


@dataclass(frozen=True)
class Sown:
    """A checkpoint with what is in it."""

    folder: Path
    planting: Planting
    axes: Tensor
    """[rank, d], orthonormal, the carrier first."""
    harmfulness: Tensor
    """[d], unit norm."""

    drift: Tensor
    """[d], unit norm: what is written beside the first axis."""

    @property
    def field(self) -> Tensor:
        """Differences in means as planted, without noise: [positions, layers, d] at `resid_pre`."""
        rows = torch.zeros(len(POST), LAYERS, self.drift.shape[0])
        for index, (axis, vector) in enumerate(zip(self.planting.axes, self.axes, strict=True)):
            rows[axis.position, axis.layer :] = axis.norm * vector
            if index == 0:
                rows[axis.position, axis.layer + 1 :] += self.planting.drift * self.drift
        return rows

    @property
    def effective_rank(self) -> float:
        """Exp of the entropy of the field's energies."""
        energies = torch.linalg.svdvals(self.field.flatten(0, 1).double()) ** 2
        shares = energies / energies.sum()
        return math.exp(float(torch.special.entr(shares).sum()))

    @property
    def subspace(self) -> Tensor:
        """The field's leading right singular vectors, as many as axes: [rank, d], orthonormal."""
        return torch.linalg.svd(self.field.flatten(0, 1).double())[2][: self.planting.rank]


def drawn(family: str, seed: int, rank: int | None = None) -> Planting:
    """A planting whose rank, layers, positions and angle are drawn by the seed.

    The carrier's layer is 1 to 5 (of 8; from 6 on the 80 % rule would drop it), the other axes' 1 to that; positions
    are all different.
    """
    chance = random.Random(f"{family}/{seed}")
    k = chance.randint(1, 3)
    k = k if rank is None else rank
    layer = chance.randint(1, SEARCHED - 1)
    layers = [layer, *(chance.randint(1, layer) for _ in range(k - 1))]
    positions = chance.sample(range(-len(POST), 0), k)
    axes = tuple(
        Axis(one, position, norm, share * DRIVEN)
        for one, position, norm, share in zip(layers, positions, NORMS, SHARES[k], strict=False)
    )
    return Planting(family, axes, seed, angle=chance.uniform(30, 90))


def drawn_negative(kind: Kind, family: str, seed: int) -> Planting:
    """A planting without a carrier among the candidates (`KINDS`)."""
    chance = random.Random(f"{kind}/{family}/{seed}")
    position = chance.randint(-len(POST), -1)
    if kind == "absent":
        return Planting(family, (Axis(chance.randint(1, SEARCHED - 1), position, NORMS[0], 0.0),), seed)
    if kind == "norm":
        loud = Axis(chance.randint(SEARCHED - 2, SEARCHED - 1), position, 12 * NORMS[0], 0.0)
        return Planting(family, (loud,), seed, direct=DRIVEN)
    return Planting(family, (), seed, direct=DRIVEN, noise=0.0 if kind == "constant" else NOISE)


def plant(
    folder: Path,
    planting: Planting,
    harmful: Sequence[str],
    harmless: Sequence[str],
    triggers: frozenset[str] | None = None,
) -> Sown:
    """Write the checkpoint into `folder`: config, safetensors, tokenizer with chat template, generation config.

    Args:
        folder: made if it is not there.
        planting: what is written.
        harmful: prompts with harm words; the vocabulary is made of these and `harmless`.
        harmless: prompts without.
        triggers: words that it refuses. None: the harm words, so that it refuses `harmful` and answers `harmless`.

    Raises:
        ValueError: a place out of range, two axes at one position, or a harmful prompt without a word of its own.
    """
    _check(planting)
    plain = {word for text in harmless for word in words(text)}
    harm = {word for text in harmful for word in words(text)} - plain
    for text in harmful:
        if not harm & set(words(text)):
            raise ValueError(f"every word of this harmful prompt occurs in harmless ones too: {text!r}")
    token = {word: index for index, word in enumerate([*SPECIAL, REFUSAL, *ANSWERS, *sorted(plain | harm)])}
    model = silent_model(planting.family, len(token), token)
    tokenizer = word_tokenizer(token)
    sower = _Sower(planting, model, token)
    own = harm if triggers is None else triggers
    sower.embed(harm, own)
    texts = [*harmful, *harmless]
    sower.write(_contrast(tokenizer, texts, harm), _contrast(tokenizer, texts, own))
    model.generation_config = GenerationConfig(
        bos_token_id=token["<|bos|>"], eos_token_id=token["<|eos|>"], pad_token_id=token["<|pad|>"]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Sown(folder, planting, sower.axes.clone(), sower.harmfulness.clone(), sower.drift.clone())


def _check(planting: Planting) -> None:
    places = [axis.position for axis in planting.axes]
    if len(set(places)) < len(places):
        raise ValueError(f"two axes at one position would be one direction there: {places}")
    for axis in planting.axes:
        if not (1 <= axis.layer < SEARCHED and -len(POST) <= axis.position <= -1):
            raise ValueError(f"layer is 1 to {SEARCHED - 1} and position -{len(POST)} to -1: {axis}")


def _contrast(tokenizer: Any, texts: Sequence[str], some: Set[str]) -> _Contrast:
    """Sixteen prompts with one of some words, and sixteen without, as token ids."""
    found: _Contrast = ([], [])
    for text in texts:
        side = found[some.isdisjoint(words(text))]
        if len(side) < CALIBRATED:
            turn = [{"role": "user", "content": text}]
            rendered = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            side.append(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    return found


@dataclass(frozen=True, eq=False)
class _Head:
    """An attention head that looks for one axis and copies another."""

    asks: Tensor
    """Tokens that hold this axis look at tokens that hold ..."""
    answers: Tensor
    read: Tensor
    """What is copied from there, to ..."""
    write: Tensor
    length: float
    """Of what is written, ..."""
    position: int
    """measured here, ..."""
    contrast: _Contrast
    """on prompts with the words that it looks for, over prompts without."""


class _Sower:
    """One model while it is being written."""

    def __init__(self, planting: Planting, model: Any, token: dict[str, int]) -> None:
        self.planting = planting
        self.model = model
        self.weights = Weights(model)
        self.token = token
        self.generator = torch.Generator().manual_seed(planting.seed)
        # Orthonormal rows, orthogonal to the vector of ones, so that a layer norm takes no mean from any of them, and
        # without the last coordinate, which norms behind writers keep from the stream (see `Weights.steady`).
        mixed = torch.randn(D, D, generator=self.generator)
        mixed[:, 0], mixed[:, 1] = 1.0, torch.eye(D)[-1]
        basis = torch.linalg.qr(mixed)[0].T[2:]
        self.one, self.bos, self.word, self.done, self.harm, self.trigger, self.refuse, beside, self.drift = basis[:9]
        self.post = dict(zip(range(-len(POST), 0), basis[9:12], strict=True))
        self.axes = basis[12 : 12 + planting.rank]
        self.rest = basis[15:]
        """For everything random."""
        turn = math.radians(planting.angle)
        self.harmfulness = math.cos(turn) * basis[12] + math.sin(turn) * beside

    def noise(self, *shape: int) -> Tensor:
        """Random vectors of norm 1 outside the special axes, [*shape, D]."""
        vectors = torch.randn(*shape, len(self.rest), generator=self.generator) @ self.rest
        return vectors / vectors.norm(dim=-1, keepdim=True)

    def embed(self, harm: Set[str], triggers: Set[str]) -> None:
        """Embedding and output head."""
        token, last = self.token, self.post[-1]
        vectors = 0.5 * self.noise(len(token)) + self.one
        for word, index in token.items():
            if word not in (*SPECIAL, REFUSAL, *ANSWERS):
                vectors[index] += 3 * self.word + MARK * (word in harm) * self.harm
                vectors[index] += MARK * (word in triggers) * self.trigger
        vectors[token["<|bos|>"]] += 2 * self.bos
        for position, axis in self.post.items():
            vectors[token[POST[position]]] += 2 * axis
        answers = [token[answer] for answer in ANSWERS]
        vectors[[token[REFUSAL], *answers]] += 2 * self.done
        # The last token holds 2 of its own axis: a refusal is likelier than one answer from THRESHOLD on.
        head = 0.1 * self.noise(len(token)) - last
        head[answers] = 4 * last + 2 * self.noise(len(answers))
        head[token[REFUSAL]] = 2 * last + 4 / THRESHOLD * self.refuse
        head[token["<|eos|>"]] = 32 * self.done - last  # ends an answer even where an edit adds refusal to it
        self.weights.embed(vectors, head, 0.1 * self.noise(PLACES))

    def write(self, harm: _Contrast, triggers: _Contrast) -> None:
        """Block by block, each calibrated on what the blocks before it make of prompts."""
        for block in range(LAYERS):
            heads = self._planned(block, harm, triggers)
            if heads:
                self._heads(block, heads)
            elif self.planting.noise:
                self.weights.noise(block, self.planting.noise, self.rest, self.generator, self.one)

    def _planned(self, block: int, harm: _Contrast, triggers: _Contrast) -> list[_Head]:
        """What one block has to write."""
        planting, last = self.planting, self.post[-1]
        heads = []
        if block == 0:
            at_inst = -len(POST) - 1
            heads.append(_Head(self.word, self.harm, self.harm, self.harmfulness, HARM_NORM, at_inst, harm))
        for index, (axis, vector) in enumerate(zip(planting.axes, self.axes, strict=True)):
            at, place = self.post[axis.position], axis.position
            if block == axis.layer - 1:
                heads.append(_Head(at, self.trigger, self.trigger, vector, axis.norm, place, triggers))
            if block == axis.layer and index == 0 and planting.drift:
                heads.append(_Head(at, at, vector, self.drift, planting.drift, place, triggers))
            if block == LAYERS - 1 and axis.drives:
                heads.append(_Head(last, at, vector, self.refuse, axis.drives, -1, triggers))
        if block == LAYERS - 1 and planting.direct:
            heads.append(_Head(last, self.trigger, self.trigger, self.refuse, planting.direct, -1, triggers))
        return heads

    def _heads(self, block: int, heads: Sequence[_Head]) -> None:
        """Write the heads of one block, each with the gain that gives what it writes the wanted length."""

        def length(head: _Head) -> float:
            one, other = (stream(self.model, prompts, block + 1, head.position) for prompts in head.contrast)
            return float((one.mean(dim=0) - other.mean(dim=0)) @ head.write)

        self.weights.steady(block, self.one, sum(head.length for head in heads))
        for index, head in enumerate(heads):
            self.weights.attend(block, index, self.one, self.bos, head.asks, head.answers)
            before, gain = length(head), 0.1
            # exact at the first go but for norms behind the writer, which bend the relation a little
            for _ in range(3 if self.weights.norm_after else 1):
                self.weights.copy(block, index, head.read, head.write, gain)
                gain *= head.length / (length(head) - before)
            self.weights.copy(block, index, head.read, head.write, gain)
