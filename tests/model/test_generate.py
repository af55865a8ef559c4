from __future__ import annotations

import logging
import math
from functools import cache
from itertools import pairwise, takewhile

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AddedToken, GenerationConfig, PreTrainedTokenizerFast

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.batches import shared_prefix
from geoaudit.model.chat import Chat, Rendered
from geoaudit.model.generate import _chosen, _shared, _text, complete, complete_halving, continuations, stop_tokens
from geoaudit.model.hooks import edited, every_site
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded
from tests.model.planted import HARMFUL

NEW = 12


def rendered_prompts(loaded, prompts=PROMPTS):
    return [loaded.chat.render(prompt) for prompt in prompts]


def completed(loaded, rendered, n=NEW, **drawn):
    return complete(loaded, rendered, [str(i) for i in range(len(rendered))], max_new_tokens=n, **drawn)


@torch.no_grad()
def searched(loaded, one, n=NEW) -> list[int]:
    """Tokens of transformers' greedy search on one prompt, whatever ends a text."""
    config = GenerationConfig(do_sample=False, max_new_tokens=n, eos_token_id=None, pad_token_id=0)
    own, loaded.causal_lm.generation_config = loaded.causal_lm.generation_config, GenerationConfig()
    ids = torch.tensor([one.ids])
    full = loaded.causal_lm.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0]
    loaded.causal_lm.generation_config = own
    return full[len(one.ids) :].tolist()


def cut(loaded, tokens) -> str:
    """Their text before the first stop token."""
    stop = stop_tokens(loaded)
    return loaded.tokenizer.decode(list(takewhile(lambda token: token not in stop, tokens)), skip_special_tokens=True)


def by_transformers(loaded, one, n=NEW) -> str:
    """The reference: transformers' greedy search on one prompt, cut before its first stop token."""
    return cut(loaded, searched(loaded, one, n))


@cache
def searched_alone(name) -> list[list[int]]:
    """What transformers' greedy search finds for each prompt in a model of one family that nobody has changed."""
    loaded = tiny_loaded(name)
    return [searched(loaded, one) for one in rendered_prompts(loaded)]


SYSTEM = "wash a car and paint a house and renew a passport"  # longer than the sliding windows of five tokens


def with_long_prefix(name):
    loaded = tiny_loaded(name)
    loaded.chat = Chat(loaded.tokenizer, system=SYSTEM)
    return loaded


@pytest.mark.parametrize("make", [tiny_loaded, with_long_prefix])
@pytest.mark.parametrize("name", FAMILIES)
def test_text_is_that_of_transformers_greedy_search_on_each_prompt_alone(name, make):
    loaded = make(name)
    rendered = rendered_prompts(loaded)
    windowed = getattr(loaded.causal_lm.config.get_text_config(), "sliding_window", None)
    assert _shared(loaded, rendered, NEW) == (0 if windowed else 2 if make is tiny_loaded else 14)
    texts = [one.text for one in completed(loaded, rendered)]
    assert texts == [by_transformers(loaded, one) for one in rendered]
    assert len(set(texts)) > 1


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_batch_and_padding_do_not_change_a_completion(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    together = completed(loaded, rendered)
    assert [completed(loaded, [one])[0].text for one in rendered] == [one.text for one in together]
    assert [one.text for one in completed(loaded, rendered[::-1])][::-1] == [one.text for one in together]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_token_by_token_it_is_the_same_answer_with_the_token_that_ends_it(name):
    loaded = tiny_loaded(name)
    prompts = rendered_prompts(loaded)
    for ids, one in zip(continuations(loaded, prompts, max_new_tokens=NEW), completed(loaded, prompts), strict=True):
        assert all(token not in stop_tokens(loaded) for token in ids[:-1])
        assert (ids[-1] in stop_tokens(loaded)) == one.stopped
        assert len(ids) == one.n_tokens + one.stopped
        assert ids[0] == (one.first_token if one.n_tokens else ids[-1])
        kept = list(ids[: one.n_tokens])
        assert loaded.tokenizer.decode(kept, skip_special_tokens=True) == one.text
    assert continuations(loaded, [], max_new_tokens=NEW) == []
    with pytest.raises(RequestError, match="at least one token"):
        continuations(loaded, prompts, max_new_tokens=0)


@pytest.mark.parametrize("token", [9, 12, 20])
def test_an_answer_that_ends_has_its_end_among_its_tokens(token):
    """The likeliest first token of one prompt is made the one that ends texts."""
    loaded = tiny_loaded("llama")
    prompts = rendered_prompts(loaded)
    first = completed(loaded, prompts[:1], 1)[0].first_token
    loaded.causal_lm.generation_config.eos_token_id = first
    assert continuations(loaded, prompts[:1], max_new_tokens=NEW) == [(first,)]
    loaded.causal_lm.generation_config.eos_token_id = token
    for ids in continuations(loaded, prompts, max_new_tokens=NEW):
        assert token not in ids[:-1]


@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_padding_behind_a_shared_beginning_would_show_in_a_sliding_window(name, monkeypatch):
    """Why nothing is shared there."""
    loaded = with_long_prefix(name)
    rendered = rendered_prompts(loaded)
    expected = [by_transformers(loaded, one) for one in rendered]
    monkeypatch.setattr("geoaudit.model.generate._shared", lambda loaded, rendered, new: shared_prefix(rendered))
    assert [one.text for one in completed(loaded, rendered)] != expected


def test_nothing_is_shared_past_what_the_positions_are_made_for():
    loaded = tiny_loaded()  # of 64 positions
    rendered = rendered_prompts(loaded)
    longest = max(len(one.ids) for one in rendered)
    assert _shared(loaded, rendered, 64 - longest) == 2
    assert _shared(loaded, rendered, 65 - longest) == 0
    assert _shared(loaded, rendered[:1], NEW) == 0


def test_prompts_of_a_single_token():
    loaded = tiny_loaded()
    short, other = Rendered((9,), 0, ""), Rendered((9, 11, 12), 2, "")
    assert completed(loaded, [short])[0].text == by_transformers(loaded, short)
    assert [one.text for one in completed(loaded, [short, other])] == [
        by_transformers(loaded, one) for one in (short, other)
    ]


NEAR = 2.0**-5
"""Of the largest logit. bfloat16 keeps 8 bits: a rounding moves a number by up to 2^-9 of its size, and two orders of
computing a logit differ by the sum of a few dozen of them (in five families, 1.4 % at most where texts differed)."""


def test_in_bfloat16_sharing_changes_a_text_only_where_two_tokens_are_nearly_tied(monkeypatch):
    monkeypatch.setattr("geoaudit.model.generate._text", lambda loaded, ids, behind: ids)
    loaded = with_long_prefix("llama")
    rendered = rendered_prompts(loaded, [*HARMFUL[:24], *PROMPTS])
    exact = completed(loaded, rendered, 24)
    with monkeypatch.context() as apart:
        apart.setattr("geoaudit.model.generate._shared", lambda *args: 0)
        assert completed(loaded, rendered, 24) == exact  # float32: the same everywhere
        loaded.model.to(torch.bfloat16)
        plain = completed(loaded, rendered, 24)
    shared = completed(loaded, rendered, 24)
    differing = [(one, a.text, b.text) for one, a, b in zip(rendered, plain, shared, strict=True) if a != b]
    assert 0 < len(differing) < len(rendered) / 2
    for one, a, b in differing:
        a, b = ([*ids, 2] for ids in (a, b))  # its one stop token, where a completion is shorter
        same = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*one.ids, *a[:same]]])).logits[0, -1].float()
        assert logits.max() - logits[[a[same], b[same]]].min() <= NEAR * logits.abs().max()


def stopping(name="llama"):
    """A model that ends its completions after different numbers of tokens."""
    loaded = tiny_loaded(name)
    full = completed(loaded, rendered_prompts(loaded))
    words = full[0].text.split()
    loaded.causal_lm.generation_config.eos_token_id = [loaded.tokenizer.convert_tokens_to_ids(words[3])]
    return loaded, full


def test_finished_prompts_change_nothing_for_the_others():
    loaded, full = stopping()
    stop = loaded.tokenizer.convert_ids_to_tokens(loaded.causal_lm.generation_config.eos_token_id[0])
    done = completed(loaded, rendered_prompts(loaded))
    assert {one.stopped for one in done} == {True, False}
    for one, whole in zip(done, full, strict=True):
        before, stops, _ = f" {whole.text} ".partition(f" {stop} ")
        assert one.text == before.strip()
        assert one.stopped == (bool(stops) or whole.stopped)
        assert (one.n_tokens < NEW) == one.stopped
        assert one.prompt_id == whole.prompt_id


def test_nothing_of_the_checkpoints_generation_config_but_its_stop_tokens_counts(caplog):
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    plain = completed(loaded, rendered)
    loaded.causal_lm.generation_config = own = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        top_k=2,
        repetition_penalty=9.0,
        bad_words_ids=[[11]],
        suppress_tokens=[9, 10, 13, 14],
        no_repeat_ngram_size=1,
        forced_eos_token_id=12,
        eos_token_id=2,
        max_length=7,
        min_new_tokens=5,
        cache_implementation="static",
        output_scores=True,
        return_dict_in_generate=True,
    )
    before = own.to_dict()
    shouts = logging.getLogger("transformers")
    shouts.addHandler(caplog.handler)
    try:
        assert completed(loaded, rendered) == plain
    finally:
        shouts.removeHandler(caplog.handler)
    assert not caplog.records
    assert loaded.causal_lm.generation_config is own
    assert own.to_dict() == before


def test_stop_tokens_come_from_config_tokenizer_and_template():
    loaded = tiny_loaded()
    assert stop_tokens(loaded) == {2}
    loaded.causal_lm.generation_config.eos_token_id = [7, 8]
    assert stop_tokens(loaded) == {2, 7, 8}
    loaded.causal_lm.generation_config.eos_token_id = None
    loaded.chat._frame.template = loaded.chat._frame.template.replace("<|eos|>", "<|end|>")
    assert stop_tokens(loaded) == {2, loaded.tokenizer.convert_tokens_to_ids("<|end|>")}
    loaded.tokenizer.eos_token = None
    assert stop_tokens(loaded) == {loaded.tokenizer.convert_tokens_to_ids("<|end|>")}


def always_say(loaded, *tokens: str):
    """Make the model repeat a cycle of tokens, whatever the prompt: each is followed by the next."""
    ids = [loaded.tokenizer.convert_tokens_to_ids(token) for token in tokens]
    embedding, head = loaded.embedding.weight, loaded.causal_lm.lm_head.weight
    for block in loaded.blocks:
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    loaded.causal_lm.model.norm.weight.fill_(1)
    embedding.zero_()
    head.zero_()
    embedding[:, 0] = 1  # any other token is followed by the first
    head[ids[0], 0] = 1
    for index, (token, behind) in enumerate(pairwise(ids), start=1):
        embedding[token, 0], embedding[token, index] = 0, 1
        head[behind, index] = 1


def test_special_tokens_are_not_text_but_count():
    loaded = tiny_loaded()
    always_say(loaded, "wash", "<|user|>", "car", "<|eos|>")
    (one,) = completed(loaded, rendered_prompts(loaded)[:1])
    assert (one.text, one.n_tokens, one.stopped) == ("wash car", 3, True)
    assert one.first_token == loaded.tokenizer.convert_tokens_to_ids("wash")


def test_markers_of_thinking_stay_even_where_they_are_special():
    loaded = tiny_loaded()
    always_say(loaded, "[UNK]", "wash", "car", "<|eos|>")
    loaded.tokenizer.backend_tokenizer.add_special_tokens([AddedToken("[THINK]", special=True)])
    thinking = loaded.tokenizer.convert_tokens_to_ids("[THINK]")
    loaded.model.resize_token_embeddings(thinking + 1)
    always_say(loaded, "[THINK]", "wash", "car", "<|eos|>")
    (one,) = completed(loaded, rendered_prompts(loaded)[:1])
    assert one.text == "[THINK] wash car"


def test_a_completion_can_be_empty():
    loaded = tiny_loaded()
    always_say(loaded, "<|eos|>")
    (one,) = completed(loaded, rendered_prompts(loaded)[:1])
    assert (one.text, one.n_tokens, one.stopped, one.first_token) == ("", 0, True, None)


def test_edits_see_every_token_once_prompt_and_generated(monkeypatch):
    monkeypatch.setattr("geoaudit.model.generate.LEAVING", 0)  # or the last passes have fewer rows
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    seen = []

    def look(x):
        seen.append(tuple(x.shape[:2]))
        return x.clone()

    with edited(loaded, {("resid_pre", 0): look}):
        plain = completed(loaded, rendered)
    assert plain == completed(loaded, rendered)
    longest = max(len(one.ids) for one in rendered)
    n = len(rendered)
    assert seen == [(1, 2), (n, longest - 3), *[(n, 1)] * NEW]  # the shared two, the rest, the last and what follows


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_under_an_edit_text_is_that_of_transformers_under_it_and_nothing_stays_behind(name):
    loaded = with_long_prefix(name)
    rendered = rendered_prompts(loaded)
    plain = completed(loaded, rendered)
    unit = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(5)), dim=0)
    with edited(loaded, dict.fromkeys(every_site(loaded), lambda x: x - (x @ unit)[..., None] * unit)):
        inside = completed(loaded, rendered)
        assert [one.text for one in inside] == [by_transformers(loaded, one) for one in rendered]
    assert inside != plain
    assert completed(loaded, rendered) == plain


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_logits_are_not_text(bad):
    loaded = tiny_loaded()
    own = loaded.causal_lm.generation_config
    loaded.causal_lm.lm_head.weight[5] = bad
    for drawn in ({}, {"temperature": 1.0, "seeds": [0]}):
        with pytest.raises(BrokenCheckpoint, match="no likeliest token"):
            completed(loaded, rendered_prompts(loaded)[:1], **drawn)
    assert loaded.causal_lm.generation_config is own


def test_what_comes_behind_the_end_of_a_completion_is_not_looked_at():
    logits = torch.zeros(2, 9)
    logits[0], logits[1, 4] = torch.nan, 1
    assert _chosen(logits, [1], [], 0.0)[1] == 4
    with pytest.raises(BrokenCheckpoint):
        _chosen(logits, [0, 1], [], 0.0)


def ending(loaded, rendered, share: float) -> None:
    """Make tokens of some prompts' answers end them, the first one's at once, so that rows end at different steps."""
    answers = continuations(loaded, rendered, max_new_tokens=NEW)
    ends = {answer[3 * row % len(answer)] for row, answer in enumerate(answers) if row < share * len(answers)}
    loaded.causal_lm.generation_config.eos_token_id = sorted(ends)


@pytest.mark.parametrize("share", [0.1, 0.4])
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_that_have_ended_leave_the_batch_and_change_no_other(name, share, monkeypatch):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded) * 2
    ending(loaded, rendered, share)
    seeds = list(range(len(rendered)))

    def made():
        drawn = {"temperature": 1.0, "seeds": seeds}
        return completed(loaded, rendered), completed(loaded, rendered, **drawn)

    sizes = rows_run(loaded)
    leaving = made()
    assert min(sizes[2:]) < len(rendered), "rows left"
    monkeypatch.setattr("geoaudit.model.generate.LEAVING", 0)
    sizes.clear()
    assert made() == leaving
    assert set(sizes) <= {1, len(rendered)}, "nobody left"
    assert [one.text for one in leaving[0]] == [cut(loaded, tokens) for tokens in searched_alone(name)] * 2


def rows_run(loaded) -> list[int]:
    """Rows of every pass from now on."""
    forward, seen = loaded.decoder.forward, []

    def counted(*args, **kwargs):
        if kwargs.get("input_ids") is not None:  # the reference passes embeddings to some
            seen.append(kwargs["input_ids"].shape[0])
        return forward(*args, **kwargs)

    loaded.decoder.forward = counted
    return seen


def test_once_every_answer_has_ended_nothing_more_is_run():
    loaded = tiny_loaded()
    always_say(loaded, "wash", "car", "<|eos|>")
    sizes = rows_run(loaded)
    made = completed(loaded, rendered_prompts(loaded))
    assert [one.n_tokens for one in made] == [2] * len(made)
    assert sizes == [1, *[len(made)] * 4], "what is shared, the rest, and three tokens"


WEIGHTS = {"car": 6.0, "wash": 3.0, "house": 1.0}


def die():
    """A model that says one of three words, whatever came before, with these odds at temperature 1.

    Three, because the difference of two noises is symmetric: noise of the wrong sign would pass with two.
    """
    loaded = tiny_loaded()
    always_say(loaded, *WEIGHTS)
    ids = loaded.tokenizer.convert_tokens_to_ids(list(WEIGHTS))
    embedding, head = loaded.embedding.weight, loaded.causal_lm.lm_head.weight
    embedding.zero_()
    embedding[:, 0] = 1
    scale = float(loaded.causal_lm.model.norm(embedding[:1])[0, 0])
    head.zero_()
    head[:, 0] = -100.0
    head[ids, 0] = torch.tensor([math.log(weight) / scale for weight in WEIGHTS.values()])
    return loaded


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax_at_their_temperature(temperature):
    loaded = die()
    n = 1500
    made = completed(loaded, rendered_prompts(loaded)[:1] * n, 2, temperature=temperature, seeds=list(range(n)))
    words = [one.text.split() for one in made]
    raised = {word: weight ** (1 / temperature) for word, weight in WEIGHTS.items()}
    shares = {word: weight / sum(raised.values()) for word, weight in raised.items()}

    def agrees(count: int, p: float) -> bool:
        return abs(count - n * p) <= 3.3 * math.sqrt(n * p * (1 - p))  # two-sided binomial, p = 0.001

    for step in range(2):
        for word, share in shares.items():
            assert agrees(sum(row[step] == word for row in words), share)
    # steps of a row are drawn independently: as many agree as would by chance
    assert agrees(sum(row[0] == row[1] for row in words), sum(share**2 for share in shares.values()))


def test_as_the_temperature_falls_samples_become_the_likeliest_completion():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    seeds = list(range(len(rendered)))
    greedy = completed(loaded, rendered)
    for temperature in (1e-5, 1e-300):
        assert completed(loaded, rendered, temperature=temperature, seeds=seeds) == greedy
    assert completed(loaded, rendered, temperature=0.0, seeds=[None] * len(rendered)) == greedy
    assert completed(loaded, rendered, temperature=1.0, seeds=seeds) != greedy


def test_a_sample_depends_on_its_prompt_and_seed_alone():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    seeds = [3, 1, 4, 1, 5]
    together = completed(loaded, rendered, temperature=1.0, seeds=seeds)
    assert together == completed(loaded, rendered, temperature=1.0, seeds=seeds)
    backwards = completed(loaded, rendered[::-1], temperature=1.0, seeds=seeds[::-1])[::-1]
    assert [one.text for one in backwards] == [one.text for one in together]
    for one, seed, made in zip(rendered, seeds, together, strict=True):
        assert completed(loaded, [one], temperature=1.0, seeds=[seed])[0].text == made.text
    samples = completed(loaded, rendered[:1] * 6, temperature=1.0, seeds=[3, 3, 7, 8, 9, 10])
    assert samples[0].text == samples[1].text == together[0].text
    assert len({one.text for one in samples}) == 5


@pytest.mark.parametrize("seeds", [None, [1], [1, None]])
def test_a_sample_without_a_seed_is_an_error(seeds):
    loaded = tiny_loaded()
    with pytest.raises(RequestError, match="every prompt needs a seed"):
        completed(loaded, rendered_prompts(loaded)[:2], temperature=0.7, seeds=seeds)


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_temperatures_that_mean_nothing(temperature):
    with pytest.raises(RequestError, match="finite number of 0 or more"):
        completed(tiny_loaded(), [], temperature=temperature, seeds=[])


def test_a_prefilled_answer_is_continued_and_is_no_part_of_the_completion():
    loaded = tiny_loaded()
    plain = rendered_prompts(loaded)
    begun = [loaded.chat.render(prompt, "paint a house", k=2) for prompt in PROMPTS]
    made = completed(loaded, begun)
    answers = [one.prefill + two.text for one, two in zip(begun, made, strict=True)]
    assert answers == [f"paint a {by_transformers(loaded, one)}" for one in begun]
    assert made != completed(loaded, plain)
    for one, two in zip(plain, begun, strict=True):
        assert two.ids == (*one.ids, *loaded.tokenizer.convert_tokens_to_ids(["paint", "a"]))


def test_a_completion_behind_a_prefill_keeps_the_blank_between_words():
    tokenizer = Tokenizer(models.WordLevel({"▁Sure": 0, "▁here": 1, ",": 2, "\ufffd": 3}, unk_token="\ufffd"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()

    class Loaded:
        pass

    loaded = Loaded()
    loaded.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert _text(loaded, [1, 2]) == "here,"
    assert _text(loaded, [1, 2], behind=[0]) == " here,"
    assert _text(loaded, [], behind=[0]) == ""


def crowded(loaded, room: int, error: Exception):
    """Run out of memory above `room` rows; counts what was tried."""
    forward, tried = loaded.decoder.forward, []

    def limited(*args, **kwargs):
        rows = kwargs["input_ids"].shape[0]
        tried.append(rows)
        if rows > room:
            raise error
        return forward(*args, **kwargs)

    loaded.decoder.forward = limited
    return tried


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
]


def halved(loaded, rendered, **drawn):
    return complete_halving(loaded, rendered, [str(i) for i in range(len(rendered))], max_new_tokens=NEW, **drawn)


@pytest.mark.parametrize(("room", "sizes"), [(5, (5,)), (4, (3, 2)), (2, (2, 1, 2)), (1, (1, 1, 1, 1, 1))])
def test_a_batch_that_does_not_fit_is_halved_and_what_was_run_is_said(room, sizes):
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    whole = completed(loaded, rendered), completed(loaded, rendered, temperature=1.0, seeds=[5, 6, 7, 8, 9])
    crowded(loaded, room, OUT_OF_MEMORY[0])
    assert halved(loaded, rendered) == (whole[0], sizes)
    assert halved(loaded, rendered, temperature=1.0, seeds=[5, 6, 7, 8, 9]) == (whole[1], sizes)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_every_allocator_is_understood(error):
    loaded = tiny_loaded()
    crowded(loaded, 1, error)
    assert halved(loaded, rendered_prompts(loaded)[:2])[1] == (1, 1)


def test_the_allocators_own_words_are_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    loaded = tiny_loaded()
    crowded(loaded, 3, caught.value)
    assert halved(loaded, rendered_prompts(loaded))[1] == (3, 2)


def test_where_not_even_one_row_fits_the_allocator_has_the_last_word():
    loaded = tiny_loaded()
    tried = crowded(loaded, 0, OUT_OF_MEMORY[0])
    with pytest.raises(torch.OutOfMemoryError):
        halved(loaded, rendered_prompts(loaded)[:1])
    assert tried == [1]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    loaded = tiny_loaded()
    tried = crowded(loaded, 1, RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))
    with pytest.raises(RuntimeError, match="size of tensor"):
        halved(loaded, rendered_prompts(loaded))
    assert tried == [1, 5]  # the shared beginning, then the batch, once


def test_no_prompts_no_completions():
    assert complete(tiny_loaded(), [], [], max_new_tokens=3) == []


@pytest.mark.parametrize(("ids", "n"), [(["a"], 3), (["a", "b"], 0)])
def test_requests_that_cannot_be_met(ids, n):
    loaded = tiny_loaded()
    with pytest.raises(RequestError, match="one id a prompt"):
        complete(loaded, rendered_prompts(loaded)[:2], ids, max_new_tokens=n)
