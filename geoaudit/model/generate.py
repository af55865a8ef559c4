"""Completions of one batch of prompts, by transformers' `generate`.

`generate` chooses the tokens and stops; around it stand four things that an audit needs. Nothing of the checkpoint's
`generation_config.json` but its end-of-sequence tokens reaches the result (a repetition penalty would change the text,
sampling parameters raise warnings). Broken logits stop the run instead of becoming text. Sampling draws every row's
noise from a generator of its own. And the prompts are run before `generate`, which gets their keys and values: what
they share is computed once, and the output head runs on single tokens only (in bfloat16 on a CPU `generate` spends more
time on the head behind a batch of prompts than on the prompts: 6 s of 8.5 s for 64 prompts of SmolLM2-135M).

In float32 a completion does not depend on its neighbours in the batch. In bfloat16 it does, so a batch is the unit
that is stored and repeated: the same batch gives the same text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model import thinking
from geoaudit.model.batches import shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.layout import PADDING, Layout, Observer, padded_behind
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import prefill
from geoaudit.records import Completion


@torch.no_grad()
def complete(
    loaded: LoadedModel,
    rendered: Sequence[Rendered],
    prompt_ids: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seeds: Sequence[int | None] | None = None,
    observer: Observer | None = None,
) -> list[Completion]:
    """The continuation of each prompt, token by token: the likeliest one, or a sample.

    Args:
        loaded: the model; active edits apply to prompt and generated tokens. An edit sees what the prompts share once
            (`[1, shared, d_model]`), then the rest of the batch, then one token a row at a time.
        rendered: the batch, in the order of the batch plan.
        prompt_ids: one id a prompt, carried into the completions.
        max_new_tokens: where a completion is cut, at least 1.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature) by the
            Gumbel-max trick (Maddison et al. 2014, "A* sampling", section 2).
        seeds: one a prompt, needed where the temperature is not 0. In float32 a row's sample depends on its prompt and
            its seed, not on the rows beside it.
        observer: told the layout of the batch before it is run: what an edit of some positions only has to know
            (`geoaudit.interventions.applying`). What all prompts share is run in one row, as columns of every row.

    Returns:
        One completion a prompt, in order. `text` is what the model added to the prompt (and to its prefill), without
        special tokens, but markers of thinking blocks stay even where they are special, so that an unfinished thought
        can be told from an answer. `n_tokens` counts the tokens before the end-of-sequence token, `stopped` says that
        there was one.

    Raises:
        RequestError: lists of different lengths, no room for a token, a temperature below 0, or one without seeds.
        BrokenCheckpoint: logits are NaN or infinite.
    """
    if len(rendered) != len(prompt_ids) or max_new_tokens < 1:
        raise RequestError(
            f"complete() needs one id a prompt and max_new_tokens >= 1: got {len(rendered)} prompts, "
            f"{len(prompt_ids)} ids and max_new_tokens={max_new_tokens}"
        )
    drawn = _drawn(temperature, seeds, len(rendered))
    if not rendered:
        return []
    completions = []
    rows = _continued(loaded, rendered, max_new_tokens, temperature, drawn, observer)
    for prompt_id, prompt, (made, stopped) in zip(prompt_ids, rendered, rows, strict=True):
        text = _text(loaded, made, behind=prompt.ids[len(prompt.ids) - prompt.n_prefill :])
        completions.append(Completion(prompt_id, text, len(made), stopped is not None, made[0] if made else None))
    return completions


@torch.no_grad()
def continuations(loaded: LoadedModel, rendered: Sequence[Rendered], *, max_new_tokens: int) -> list[tuple[int, ...]]:
    """The likeliest tokens behind each prompt of a batch, the one that ends the answer among them where it came.

    For whoever goes through an answer token by token: text that is tokenized again need not give the same ones.

    Args:
        loaded: the model; active edits apply to prompt and generated tokens.
        rendered: the batch, in the order of the batch plan.
        max_new_tokens: where an answer is cut, at least 1.

    Returns:
        Token ids of each prompt's answer, one or more.

    Raises:
        RequestError: no room for a token.
        BrokenCheckpoint: logits are NaN or infinite.
    """
    if max_new_tokens < 1:
        raise RequestError(f"an answer has at least one token, got max_new_tokens={max_new_tokens}")
    if not rendered:
        return []
    rows = _continued(loaded, rendered, max_new_tokens, 0.0, [], None)
    return [(*made, *([] if stopped is None else [stopped])) for made, stopped in rows]


def _continued(
    loaded: LoadedModel,
    rendered: Sequence[Rendered],
    max_new_tokens: int,
    temperature: float,
    drawn: Sequence[int],
    observer: Observer | None,
) -> list[tuple[list[int], int | None]]:
    """For each prompt its new tokens and the token that ended them, None where they were cut."""
    stop = stop_tokens(loaded)
    shared = _shared(loaded, rendered, max_new_tokens)
    layout = padded_behind(rendered, shared)
    if observer is not None:
        observer(layout)
    tokens, mask = (tensor.to(loaded.device) for tensor in _padded(layout))
    width = tokens.shape[1]
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stop) or None,
        pad_token_id=min(stop, default=0),  # what a finished row goes on with; never read
    )
    chooser = _Chooser(width, stop, temperature, drawn)
    with _no_settings_of_its_own(loaded.causal_lm):
        whole = loaded.causal_lm.generate(
            tokens,
            attention_mask=mask,
            past_key_values=_run_prompts(loaded, tokens, mask, shared),
            generation_config=settings,
            logits_processor=LogitsProcessorList([chooser]),
        )
    found: list[tuple[list[int], int | None]] = []
    for row in whole[:, width:].tolist():
        end = next((index for index, token in enumerate(row) if token in stop), None)
        found.append((row[:end], None if end is None else row[end]))
    return found


def complete_halving(
    loaded: LoadedModel,
    rendered: Sequence[Rendered],
    prompt_ids: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seeds: Sequence[int | None] | None = None,
    observer: Observer | None = None,
) -> tuple[list[Completion], tuple[int, ...]]:
    """`complete`, with the batch cut in two where it does not fit in memory, and those again if need be.

    Returns:
        The completions in order, and the sizes of the batches that were run: what is stored beside them, because
        below float32 they decide what the text is.

    Raises:
        RuntimeError: not even one row fits (the allocator's own error).
    """
    try:
        done = complete(
            loaded,
            rendered,
            prompt_ids,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seeds=seeds,
            observer=observer,
        )
        return done, (len(rendered),)
    except RuntimeError as error:
        if len(rendered) < 2 or not _out_of_memory(error):
            raise
    # outside the handler: the error's traceback holds the tensors that did not fit
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    completions: list[Completion] = []
    sizes: tuple[int, ...] = ()
    middle = (len(rendered) + 1) // 2
    for half in (slice(middle), slice(middle, None)):
        part, run = complete_halving(
            loaded,
            rendered[half],
            prompt_ids[half],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seeds=None if seeds is None else seeds[half],
            observer=observer,
        )
        completions += part
        sizes += run
    return completions, sizes


def stop_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Tokens that end a completion: the generation config's, the tokenizer's EOS and the template's end of turn."""
    config = getattr(loaded.causal_lm, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    own = named if isinstance(named, list) else [named]
    every = [*own, loaded.tokenizer.eos_token_id, loaded.chat.end_of_turn()]
    return frozenset(int(token) for token in every if token is not None)


class _Chooser(LogitsProcessor):  # type: ignore[misc]
    """Makes the largest score the next token's: checks the logits, and adds the noise that makes a sample of it."""

    def __init__(self, width: int, stop: frozenset[int], temperature: float, seeds: Sequence[int]) -> None:
        self.width = width
        self.stop = torch.tensor(sorted(stop), dtype=torch.long)
        self.temperature = temperature
        # on the CPU, so that a seed means the same on every device
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`input_ids [n, length so far]` and `scores [n, vocab]` (float32) to scores of the same shape."""
        broken = ~scores.max(dim=-1).values.isfinite()  # the largest logit is NaN if any is
        if broken.any() and (broken & ~self._finished(input_ids)).any():
            raise BrokenCheckpoint(
                "logits are NaN or infinite, so there is no likeliest token: the weights are broken, or the dtype is "
                "too narrow for this model or for the edit that is active (float16 overflows where bfloat16 does not)"
            )
        if not self.generators:
            return scores
        # -log(-log u) of a uniform u is Gumbel noise, and the largest of logits + T · noise is a draw from
        # softmax(logits / T); in double precision, so that rare tokens keep their share
        vocab = scores.shape[-1]
        drawn = [torch.rand(vocab, dtype=torch.float64, generator=one) for one in self.generators]
        noise = -torch.log(-torch.log(torch.stack(drawn)))
        return scores.double() + self.temperature * noise.to(scores.device)

    def _finished(self, input_ids: Tensor) -> Tensor:
        """Rows `[n]` whose end-of-sequence token has come: what follows it is never read."""
        return torch.isin(input_ids[:, self.width :], self.stop.to(input_ids.device)).any(dim=-1)


def _drawn(temperature: float, seeds: Sequence[int | None] | None, n: int) -> list[int]:
    """The seeds of the rows; none where nothing is drawn."""
    if not (math.isfinite(temperature) and temperature >= 0):
        raise RequestError(f"the temperature is a finite number of 0 or more, got {temperature}")
    if temperature == 0:
        return []
    given = [seed for seed in seeds or () if seed is not None]
    if len(given) != n:
        raise RequestError(
            f"at temperature {temperature} every prompt needs a seed: got {len(given)} for {n} prompts; pass "
            "temperature=0 for the likeliest completion"
        )
    return given


@contextmanager
def _no_settings_of_its_own(model: Any) -> Iterator[None]:
    """Hide the checkpoint's generation config, which `generate` reads wherever the one that it gets is silent."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _shared(loaded: LoadedModel, rendered: Sequence[Rendered], max_new_tokens: int) -> int:
    """Leading tokens that are run once for all prompts; 0 where there is nothing to gain or padding would show.

    Padding then stands between what is shared and what is not. It is masked and moves no position, but a sliding
    window counts it, and rotary embeddings that change with the length must be the same in both parts.
    """
    if len(rendered) < 2:
        return 0
    config = loaded.causal_lm.config.get_text_config()
    limits = ("sliding_window", "original_max_position_embeddings", "max_position_embeddings")
    room = min((limit for name in limits if (limit := getattr(config, name, None))), default=math.inf)
    longest = max(len(prompt.ids) for prompt in rendered) + max_new_tokens
    return shared_prefix(rendered) if longest <= room else 0


def _padded(layout: Layout) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask `[n, columns]` of a layout.

    Padding is masked, so any id will do: the prompt's own first.
    """
    rows = zip(layout.prompts, layout.index.clamp(min=0).tolist(), strict=True)
    tokens = [[prompt.ids[place] for place in places] for prompt, places in rows]
    return torch.tensor(tokens), (layout.index != PADDING).long()


def _run_prompts(loaded: LoadedModel, tokens: Tensor, mask: Tensor, shared: int) -> Any:
    """Keys and values of all columns of a padded batch but the last, from which `generate` goes on; None for none."""
    cache = prefill(loaded, tokens[0, :shared].tolist())
    if cache is not None:
        cache.batch_repeat_interleave(len(tokens))
    end = tokens.shape[1] - 1
    if end == shared:
        return cache
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    outputs = loaded.decoder(
        input_ids=tokens[:, shared:end],
        attention_mask=mask[:, :end],
        position_ids=positions[:, shared:end],
        past_key_values=cache,
        use_cache=True,
    )
    return outputs.past_key_values


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator said no: CUDA's has a type of its own, the others only a text."""
    text = str(error)
    said = ("DefaultCPUAllocator", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in said)


def _text(loaded: LoadedModel, ids: Sequence[int], behind: Sequence[int] = ()) -> str:
    """`ids` decoded as they stand behind others, without special tokens; markers of thinking are kept."""
    markers = {marker for pair in thinking.MARKERS for marker in pair}
    added = loaded.tokenizer.added_tokens_decoder
    hidden = {token for token, about in added.items() if about.special and about.content not in markers}

    def decoded(tokens: Sequence[int]) -> str:
        text: str = loaded.tokenizer.decode(
            [token for token in tokens if token not in hidden],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return text

    # a SentencePiece tokenizer drops the blank before the first word of a text, and this is not the first
    before, whole = decoded(behind), decoded([*behind, *ids])
    return whole.removeprefix(before) if whole.startswith(before) else decoded(ids)
