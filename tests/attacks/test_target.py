"""The loss of a text is that of the text by itself, whatever it is computed beside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geoaudit.attacks.target import Aim, string_losses, suffixed, target_ids, text_losses
from geoaudit.errors import RequestError
from tests.attacks.gcg_models import KINDS, SIX, WORDS, aims_of, model_of, plain_loss
from tests.model.families import tiny_loaded

TEXTS = {
    "car": ["tell me how to wash a purse", "tell me how to wash a car", "tell me how to wash", "tell me how to wash a"],
    "pet": ["draw"],
    "way": ["list ways to carry", "list ways to dig a well"],
}


@pytest.mark.parametrize("name", SIX)
def test_losses_are_those_of_each_text_alone(name):
    loaded = tiny_loaded(name)
    asked = [(aim, text) for aim in WORDS for text in TEXTS[aim.id]]
    asked = [asked[i] for i in (3, 0, 5, 1, 6, 4, 2)]  # the texts of an aim need not stand together
    found = string_losses(loaded, [aim for aim, _ in asked], [text for _, text in asked])
    expected = [plain_loss(loaded, aim, text) for aim, text in asked]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert len({round(loss, 3) for loss in expected}) == len(expected), "a mixed-up row would show"


@pytest.mark.parametrize("kind", KINDS)
def test_of_one_text_and_of_texts_that_share_nothing(kind):
    loaded, aims = model_of(kind), aims_of(kind)
    for asked in ([(aims[0], aims[0].request)], [(aim, aim.request) for aim in aims]):
        found = string_losses(loaded, [aim for aim, _ in asked], [text for _, text in asked])
        assert found.tolist() == pytest.approx([plain_loss(loaded, *one) for one in asked], abs=1e-4)


def test_a_target_that_the_model_would_say_matches_and_one_that_is_nearly_so_does_not():
    import torch

    loaded = tiny_loaded("llama")
    ids = list(loaded.chat.render("draw").ids)
    for _ in range(4):
        ids.append(int(loaded.causal_lm(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    said = loaded.tokenizer.decode(ids[-4:])
    other = loaded.tokenizer.decode([*ids[-4:-1], ids[-1] + 1])
    aims = [Aim("it", "draw", said), Aim("other", "draw", other)]
    assert text_losses(loaded, aims, ["draw", "draw"]).matched.tolist() == [True, False]


def test_what_is_shared_is_read_once():
    loaded = tiny_loaded("llama")
    request = " ".join(["wash"] * 30)
    one = replace(WORDS[0], request=request)
    alone = text_losses(loaded, [one], [request]).tokens
    beside = text_losses(loaded, [one] * 3, [suffixed(request, word) for word in ("car", "a", "well")]).tokens
    assert max(beside) < min(alone) - 30
    other = Aim("other", request, "car")
    assert max(text_losses(loaded, [one, other], [request, f"{request} car"]).tokens) < min(alone) - 20


@pytest.mark.parametrize("kind", KINDS)
def test_target_ids_are_the_targets_tokens_behind_any_prompt(kind):
    loaded = model_of(kind)
    for aim in aims_of(kind):
        ids = target_ids(loaded, aim.target)
        assert loaded.chat.answer_ids(loaded.chat.render(aim.request), aim.target) == ids
        assert loaded.tokenizer.decode(list(ids)).split() == aim.target.lower().split() or kind != "words"


def test_the_suffix_stands_behind_one_blank():
    assert suffixed("Tell me.", "! !") == "Tell me. ! !"


@pytest.mark.parametrize("target", ["", " \n"])
def test_an_empty_target_is_an_error(target):
    with pytest.raises(RequestError, match="target is empty"):
        string_losses(tiny_loaded("llama"), [Aim("a", "draw", target)], ["draw"])


def test_one_text_an_aim():
    with pytest.raises(RequestError, match="got 2 aims and 1 texts"):
        string_losses(tiny_loaded("llama"), WORDS[:2], ["draw"])
    assert string_losses(tiny_loaded("llama"), [], []).shape == (0,)
