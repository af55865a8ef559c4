from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import AddedToken, GenerationConfig

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.generate import complete, stop_tokens
from geoaudit.model.hooks import edited
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded

NEW = 12


def rendered_prompts(loaded, prompts=PROMPTS):
    return [loaded.chat.render(prompt) for prompt in prompts]


def completed(loaded, rendered, n=NEW):
    return complete(loaded, rendered, [str(i) for i in range(len(rendered))], max_new_tokens=n)


@torch.no_grad()
def by_transformers(loaded, one) -> str:
    """The reference: transformers' greedy search on one prompt, cut before its first stop token."""
    config = GenerationConfig(do_sample=False, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0)
    loaded.causal_lm.generation_config = GenerationConfig()
    ids = torch.tensor([one.ids])
    full = loaded.causal_lm.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0]
    stop = stop_tokens(loaded)
    kept = []
    for token in full[len(one.ids) :].tolist():
        if token in stop:
            break
        kept.append(token)
    return loaded.tokenizer.decode(kept, skip_special_tokens=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_text_is_that_of_transformers_greedy_search_on_each_prompt_alone(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    texts = [one.text for one in completed(loaded, rendered)]
    assert texts == [by_transformers(loaded, one) for one in rendered]
    assert len(set(texts)) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_and_padding_do_not_change_a_completion(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    together = completed(loaded, rendered)
    assert [completed(loaded, [one])[0].text for one in rendered] == [one.text for one in together]
    assert [one.text for one in completed(loaded, rendered[::-1])][::-1] == [one.text for one in together]


def stopping(name="llama"):
    """A model that ends its completions after different numbers of tokens."""
    loaded = tiny_loaded(name)
    full = completed(loaded, rendered_prompts(loaded))
    words = full[0].text.split()
    loaded.causal_lm.generation_config.eos_token_id = [loaded.tokenizer.convert_tokens_to_ids(words[3])]
    return loaded, full


def test_finished_prompts_leave_the_batch_and_change_nothing_for_the_others():
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


def test_nothing_of_the_checkpoints_generation_config_but_its_stop_tokens_counts():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    plain = completed(loaded, rendered)
    loaded.causal_lm.generation_config = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        top_k=2,
        repetition_penalty=9.0,
        bad_words_ids=[[11]],
        suppress_tokens=[9, 10, 13, 14],
        no_repeat_ngram_size=1,
        forced_eos_token_id=12,
        eos_token_id=2,
    )
    assert completed(loaded, rendered) == plain


def test_stop_tokens_come_from_config_tokenizer_and_template():
    loaded = tiny_loaded()
    assert stop_tokens(loaded) == {2}
    loaded.causal_lm.generation_config.eos_token_id = [7, 8]
    assert stop_tokens(loaded) == {2, 7, 8}
    loaded.causal_lm.generation_config.eos_token_id = None
    loaded.chat._template = loaded.chat._template.replace("<|eos|>", "<|end|>")
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


def test_edits_apply_to_generated_tokens_too():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    widths = []

    def look(x):
        widths.append(x.shape[1])
        return x.clone()

    with edited(loaded, {("resid_pre", 0): look}):
        plain = completed(loaded, rendered)
    assert plain == completed(loaded, rendered)
    assert widths == [max(len(one.ids) for one in rendered), *[1] * (NEW - 1)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_logits_are_not_text(bad):
    loaded = tiny_loaded()
    loaded.causal_lm.lm_head.weight[5] = bad
    with pytest.raises(BrokenCheckpoint, match="no likeliest token"):
        completed(loaded, rendered_prompts(loaded))


def test_no_prompts_no_completions():
    assert complete(tiny_loaded(), [], [], max_new_tokens=3) == []


@pytest.mark.parametrize(("ids", "n"), [(["a"], 3), (["a", "b"], 0)])
def test_requests_that_cannot_be_met(ids, n):
    loaded = tiny_loaded()
    with pytest.raises(RequestError, match="one id a prompt"):
        complete(loaded, rendered_prompts(loaded)[:2], ids, max_new_tokens=n)
