from __future__ import annotations

import numpy as np
import pytest
import torch

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.activations import block_means, last_token
from geoaudit.model.chat import Chat
from geoaudit.model.hooks import captured
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded


def rendered_prompts(loaded):
    return [loaded.chat.render(prompt) for prompt in PROMPTS]


@torch.no_grad()
def streams(loaded, rendered) -> np.ndarray:
    """[n, P, L + 1, d] from one plain forward pass a prompt."""
    layers, p = loaded.n_layers, len(loaded.chat.positions)
    places = [*(("resid_pre", layer) for layer in range(layers)), ("resid_post", layers - 1)]
    out = []
    for one in rendered:
        with captured(loaded, places) as at:
            loaded.model(input_ids=torch.tensor([one.ids]))
        where = [one.t_inst, *range(len(one.ids) - p, len(one.ids))]
        out.append(torch.stack([at[place][0, where] for place in places], dim=1).double())
    return torch.stack(out).numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_block_means_are_the_means_of_each_prompt_alone(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    one_by_one = streams(loaded, rendered)
    counts, means = block_means(loaded, rendered, n_blocks=2)
    assert means.shape == (2, 1 + loaded.chat.n_post, loaded.n_layers + 1, loaded.d_model)
    assert (means.dtype, counts.tolist()) == (np.float32, [3, 2])
    for block in range(2):
        np.testing.assert_allclose(means[block], one_by_one[block::2].mean(axis=0), atol=1e-4)
    assert np.ptp(one_by_one, axis=0)[:, 1:].max(axis=-1).min() > 1e-2  # prompts do differ at every position and layer


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "mixtral"])
def test_how_prompts_are_batched_does_not_matter(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded) * 3
    results = [block_means(loaded, rendered, n_blocks=4, tokens=size)[1] for size in (1, 20, 100, 2048)]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-5 * np.abs(results[0]).max())


def test_the_order_of_prompts_only_decides_their_block():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)[:4]
    _, means = block_means(loaded, rendered, n_blocks=2)
    _, swapped = block_means(loaded, [rendered[i] for i in (1, 0, 3, 2)], n_blocks=2)
    np.testing.assert_allclose(swapped[::-1], means, atol=1e-5)
    assert np.abs(swapped - means).max() > 1e-2


def test_the_embedding_of_a_template_token_is_the_same_for_every_prompt():
    """Layer 0 at post-instruction positions holds no trace of the prompt (the null-direction trap)."""
    _, means = block_means(tiny_loaded(), rendered_prompts(tiny_loaded()), n_blocks=2)
    assert np.array_equal(means[0, 1:, 0], means[1, 1:, 0])
    assert not np.array_equal(means[0, 0, 0], means[1, 0, 0]), "t_inst is the prompt's own token"


def test_a_block_without_prompts_has_no_mean():
    loaded = tiny_loaded()
    counts, means = block_means(loaded, rendered_prompts(loaded), n_blocks=8)
    assert counts.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert np.isfinite(means[:5]).all()
    assert np.isnan(means[5:]).all()


def test_blocks_may_be_told():
    loaded = tiny_loaded()
    rendered = rendered_prompts(loaded)
    counts, means = block_means(loaded, rendered, n_blocks=3, blocks=[2, 0, 2, 0, 2])
    assert counts.tolist() == [2, 0, 3]
    np.testing.assert_allclose(means[2], streams(loaded, rendered)[::2].mean(axis=0), atol=1e-4)


def test_progress_is_told():
    loaded = tiny_loaded()
    told = []
    block_means(loaded, rendered_prompts(loaded), tokens=20, progress=lambda *done: told.append(done))
    assert len(told) > 2
    assert told[-1] == (5, 5)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_no_chat_format_is_read_at_the_last_token():
    loaded = tiny_loaded()
    loaded.chat = Chat(loaded.tokenizer, "none")
    rendered = rendered_prompts(loaded)
    _, means = block_means(loaded, rendered, n_blocks=1)
    assert means.shape[1] == 2
    assert np.array_equal(means[:, 0], means[:, 1]), "t_inst is the last token"
    np.testing.assert_allclose(means[0], streams(loaded, rendered).mean(axis=0), atol=1e-4)


def test_no_prompts():
    with pytest.raises(RequestError, match="no prompts"):
        block_means(tiny_loaded(), [])


def test_a_prompt_of_another_template_is_an_error():
    loaded = tiny_loaded()
    other = Chat(loaded.tokenizer, "{{ messages[0]['content'] }}<|assistant|>")
    with pytest.raises(RequestError, match=r"does not end in the template's 3 .* 'wash<\|assistant\|>'"):
        block_means(loaded, [other.render("wash")])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_weights(bad):
    loaded = tiny_loaded()
    loaded.blocks[1].mlp.down_proj.weight[3, 3] = bad
    with pytest.raises(BrokenCheckpoint, match="NaN or infinite from resid_pre of layer 2 on"):
        block_means(loaded, rendered_prompts(loaded))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox"])
def test_last_token(name):
    loaded = tiny_loaded(name)
    rendered = rendered_prompts(loaded)
    expected = streams(loaded, rendered)[:, -1]
    ours = last_token(loaded, rendered, [("resid_pre", 1), ("resid_post", loaded.n_layers - 1)], tokens=20)
    assert (ours.shape, ours.dtype) == ((5, 2, 32), torch.float32)
    np.testing.assert_allclose(ours[:, 0], expected[:, 1], atol=1e-4)
    np.testing.assert_allclose(ours[:, 1], expected[:, -1], atol=1e-4)
