from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.model.batches import shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import captured, edited, every_site
from geoaudit.model.prefix import last_index, last_logits, prefill, run_suffixes
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded


def rendered_prompts(loaded):
    return [loaded.chat.render(prompt) for prompt in PROMPTS]


@torch.no_grad()
def alone(loaded, rendered):
    """Logits of each prompt's last token from the model's own forward, one prompt at a time."""
    return torch.stack([loaded.model(input_ids=torch.tensor([one.ids])).logits[0, -1] for one in rendered]).float()


def by_prefix(loaded, rendered, shared=None):
    shared = shared_prefix(rendered) if shared is None else shared
    return last_logits(loaded, rendered, shared=shared, cache=prefill(loaded, rendered[0].ids[:shared]))


SYSTEM = "wash a car and paint a house and renew a passport"  # longer than the sliding windows of five tokens


def with_long_prefix(name):
    from geoaudit.model.chat import Chat

    loaded = tiny_loaded(name)
    loaded.chat = Chat(loaded.tokenizer, system=SYSTEM)
    return loaded


@pytest.mark.parametrize("make", [tiny_loaded, with_long_prefix])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_prompt_gets_the_logits_that_it_has_alone(name, make):
    loaded = make(name)
    rendered = rendered_prompts(loaded)
    shared = shared_prefix(rendered)
    assert shared == (2 if make is tiny_loaded else 14)
    expected = alone(loaded, rendered)
    torch.testing.assert_close(by_prefix(loaded, rendered), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(by_prefix(loaded, rendered, shared=0), expected, atol=1e-4, rtol=0)
    # no two prompts have the same logits, so a mixed-up row would show
    assert (torch.cdist(expected, expected) + torch.eye(len(rendered)) > 1e-2).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_holds_under_an_edit(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    unit = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(5)), dim=0)
    plain = alone(loaded, rendered)
    with edited(loaded, dict.fromkeys(every_site(loaded), lambda x: x - (x @ unit)[..., None] * unit)):
        expected = alone(loaded, rendered)
        torch.testing.assert_close(by_prefix(loaded, rendered), expected, atol=1e-4, rtol=0)
    assert (plain - expected).abs().max() > 1e-2


def test_a_prefix_from_outside_the_edit_would_be_noticed():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    shared = shared_prefix(rendered)
    outside = prefill(loaded, rendered[0].ids[:shared])
    with edited(loaded, {("resid_pre", 0): lambda x: x + 1}):
        expected = alone(loaded, rendered)
        wrong = last_logits(loaded, rendered, shared=shared, cache=outside)
    assert (wrong - expected).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_cache_can_be_used_again(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    shared = shared_prefix(rendered)
    cache = prefill(loaded, rendered[0].ids[:shared])
    first = last_logits(loaded, rendered, shared=shared, cache=cache)
    last_logits(loaded, rendered[:2], shared=shared, cache=cache)
    assert torch.equal(last_logits(loaded, rendered, shared=shared, cache=cache), first)


def test_captured_tensors_are_found_by_last_index():
    loaded = tiny_loaded("gemma2")
    rendered = rendered_prompts(loaded)
    shared = shared_prefix(rendered)
    with captured(loaded, [("resid_post", 2)]) as at:
        run_suffixes(loaded, rendered, shared=shared, cache=prefill(loaded, rendered[0].ids[:shared]))
    ours = at["resid_post", 2][range(len(rendered)), last_index(rendered, shared)]
    for row, one in zip(ours, rendered, strict=True):
        with torch.no_grad(), captured(loaded, [("resid_post", 2)]) as at:
            loaded.model(input_ids=torch.tensor([one.ids]))
        torch.testing.assert_close(row, at["resid_post", 2][0, -1], atol=1e-5, rtol=0)


def test_logits_come_in_float32_on_the_cpu():
    loaded = tiny_loaded()
    loaded.model.to(torch.bfloat16)
    logits = by_prefix(loaded, rendered_prompts(loaded))
    assert (logits.dtype, logits.device.type, len(logits)) == (torch.float32, "cpu", len(PROMPTS))


@pytest.mark.parametrize("shared", [1, 3])
def test_a_prefix_that_is_not_the_caches_is_an_error(shared):
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    with pytest.raises(RequestError, match=f"{shared} tokens was promised: the cache holds 2"):
        last_logits(loaded, rendered, shared=shared, cache=prefill(loaded, rendered[0].ids[:2]))


def test_prompts_that_do_not_share_the_prefix_are_an_error():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    with pytest.raises(RequestError, match="must begin with the same"):
        last_logits(loaded, rendered, shared=3, cache=prefill(loaded, rendered[0].ids[:3]))


PROMPT = st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(0, 7))


@settings(deadline=None)
@given(st.lists(PROMPT, min_size=1, max_size=6), st.lists(st.integers(0, 2), max_size=3))
def test_the_shared_prefix_is_shared_and_leaves_the_positions(prompts, start):
    rendered = [
        Rendered((*start, *ids), t_inst=min(len(start) + t_inst, len(start) + len(ids) - 1), text="")
        for ids, t_inst in prompts
    ]
    shared = shared_prefix(rendered)
    assert len({one.ids[:shared] for one in rendered}) == 1
    assert all(shared <= one.t_inst < len(one.ids) for one in rendered)
    longer = {one.ids[: shared + 1] for one in rendered}
    assert len(longer) > 1 or any(shared == one.t_inst for one in rendered)  # nothing longer would do


def test_nothing_is_shared_by_no_prompts():
    assert shared_prefix([]) == 0
