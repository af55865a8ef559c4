"""Completions of one batch of prompts: the likeliest token again and again, or a sample.

What an audit needs of it: nothing of the checkpoint's `generation_config.json` but its end-of-sequence tokens reaches
the result (a repetition penalty would change the text). Broken logits stop the run instead of becoming text. Sampling
draws every row's noise from a generator of its own. And little is computed that nobody reads: the beginning that
prompts share is run once, the output head on single tokens only, and a row whose answer has ended leaves the batch (of
64 tokens each for 64 harmful requests the safety-tuned SmolLM2-135M fills a quarter).

In float32 a completion does not depend on its neighbours in the batch. In bfloat16 it does, so a batch is the unit
that is stored and repeated: the same batch gives the same text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model import thinking
from geoaudit.model.batches import shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.layout import PADDING, Layout, Observer, padded_behind
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import prefill
from geoaudit.records import Completion

LEAVING = 8
"""Rows that have ended leave the batch together, as soon as they are one in so many of it: leaving copies the keys and
values of the others."""


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
            (`[1, shared, d_model]`), then the rest of the batch, then a token at a time of each row that goes on.
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
    cache = _run_prompts(loaded, tokens, mask, shared)
    # on the CPU, so that a seed means the same on every device
    generators = [torch.Generator().manual_seed(seed) for seed in drawn]
    made: list[list[int]] = [[] for _ in rendered]
    ended: list[int | None] = [None] * len(rendered)
    rows = list(range(len(rendered)))
    """The prompt of each row that is run."""
    last = tokens[:, -1:]
    for left in range(max_new_tokens, 0, -1):
        outputs = loaded.decoder(
            input_ids=last,
            attention_mask=mask,
            position_ids=mask.sum(dim=-1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        cache = outputs.past_key_values
        logits = loaded.logits(outputs.last_hidden_state[:, -1]).float()
        going = [place for place, row in enumerate(rows) if ended[row] is None]
        chosen = _chosen(logits, going, [generators[row] for row in rows] if generators else [], temperature)
        for place in going:
            token, row = int(chosen[place]), rows[place]
            if token in stop:
                ended[row] = token
            else:
                made[row].append(token)
        going = [place for place in going if ended[rows[place]] is None]
        if not going or left == 1:
            break
        last = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if (len(rows) - len(going)) * LEAVING >= len(rows):
            index = torch.tensor(going, device=loaded.device)
            cache.batch_select_indices(index)
            last, mask, rows = last[index], mask[index], [rows[place] for place in going]
    return list(zip(made, ended, strict=True))


def _chosen(logits: Tensor, going: Sequence[int], generators: Sequence[torch.Generator], temperature: float) -> Tensor:
    """The next token of each row of `logits [n, vocab]` (float32): the likeliest one, or a draw with its generator.

    `going` are the rows whose answer has not ended: what comes behind an end is never read.

    Raises:
        BrokenCheckpoint: a row that goes on has a logit that is NaN or infinite.
    """
    broken = ~logits.max(dim=-1).values.isfinite()  # the largest logit is NaN if any is
    if broken[list(going)].any():
        raise BrokenCheckpoint(
            "logits are NaN or infinite, so there is no likeliest token: the weights are broken, or the dtype is "
            "too narrow for this model or for the edit that is active (float16 overflows where bfloat16 does not)"
        )
    if not generators:
        return logits.argmax(dim=-1)
    # -log(-log u) of a uniform u is Gumbel noise, and the largest of logits + T · noise is a draw from
    # softmax(logits / T); in double precision, so that rare tokens keep their share
    drawn = [torch.rand(logits.shape[-1], dtype=torch.float64, generator=one) for one in generators]
    noise = -torch.log(-torch.log(torch.stack(drawn)))
    return (logits.double() + temperature * noise.to(logits.device)).argmax(dim=-1)


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
    """Keys and values of all columns of a padded batch but the last, from which the answers go on; None for none."""
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
