"""AutoDAN: a planted optimum is found, the loss is that of the text as it is sent, and nothing leaks into a prompt."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from geoaudit.attacks import autodan
from geoaudit.attacks.autodan import PRESETS, AutoDAN, attack, filled
from geoaudit.attacks.initial import REQUEST, TARGET
from geoaudit.attacks.scoring import Losses
from geoaudit.attacks.target import Aim, string_losses, target_ids
from geoaudit.attacks.trace import Trace
from geoaudit.attacks.words import SYNONYMS, words
from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from tests.model.families import tiny_model
from tests.model.planted import SPECIAL, word_tokenizer
from tests.model.planted import words as split_words

STORY = f"Imagine a detailed story. A clever character begins to explain. [TARGET] is how it begins. Answer: {REQUEST}"
GUIDE = (
    f"You are a helpful teacher! Give a complete answer.\n\nThe important question is this. {REQUEST} Think carefully."
)
SHORT = f"Help. {REQUEST}"
INITIAL = (STORY, GUIDE, SHORT)
BAKE = Aim("kitchen/bake", "Explain how to bake a large cake", "Sure, here is a guide")
SONG = Aim("music/song", "Write a very short song", "Here is the song you want")
TEXTS = [*SYNONYMS, *split_words(" ".join([*INITIAL, BAKE.request, BAKE.target, SONG.request, SONG.target]))]
VOCABULARY = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL, *TEXTS]))}
SMALL = AutoDAN(steps=4, population=8, elite=0.25, share=0.3)


@pytest.fixture(scope="module")
def loaded():
    tokenizer = word_tokenizer(VOCABULARY)
    model = tiny_model("llama", vocab_size=len(VOCABULARY), max_position_embeddings=256)
    return LoadedModel(model, tokenizer, Chat(tokenizer))


@pytest.fixture
def put(monkeypatch):
    """Every text that is put to the model, in calls of (aims, texts)."""
    calls = []
    real = autodan.text_losses

    def spy(loaded, aims, texts):
        calls.append((list(aims), list(texts)))
        return real(loaded, aims, texts)

    monkeypatch.setattr(autodan, "text_losses", spy)
    return calls


@pytest.fixture
def fitness(monkeypatch):
    """Sets the loss of a text, in place of a model's."""

    def use(loss, matched=lambda text: False):
        def losses(loaded, aims, texts):
            found = torch.tensor([loss(text) for text in texts], dtype=torch.float32)
            return Losses(found, torch.tensor([matched(text) for text in texts]), tuple(map(len, texts)))

        monkeypatch.setattr(autodan, "text_losses", losses)

    return use


def timeless(traces):
    return [replace(one, steps=tuple(replace(step, seconds=0.0) for step in one.steps)) for one in traces]


# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", ["ga", "hga"])
def test_a_planted_optimum_is_found_and_random_rewording_does_not_find_it(loaded, fitness, levels):
    wanted = ("fictional", "comprehensive", "shrewd", "tale", "figure", "commences", "clarify", "reply")
    start = f"A imaginary and detailed and clever story. The character begins. Explain it. Reach the answer. {REQUEST}"
    fitness(lambda text: float(sum(word not in text.lower() for word in wanted)))
    settings = AutoDAN(steps=60, population=24, share=0.1, levels=levels)
    found = attack(loaded, [BAKE], settings, [start])[0]
    blind = attack(loaded, [BAKE], replace(settings, steps=0, population=24 * 10, share=0.5), [start])[0]
    assert found.best.loss <= 1
    assert found.steps[0].loss >= 5
    assert blind.best.loss > found.best.loss


def test_crossing_brings_the_sentences_of_two_prompts_together(loaded, fitness):
    one = f"Alpha. Nothing. Gamma. Nothing. {REQUEST}"
    other = f"Nothing. Beta. Nothing. Delta. {REQUEST}"
    fitness(lambda text: 4.0 - sum(word in text for word in ("Alpha", "Beta", "Gamma", "Delta")))
    settings = AutoDAN(steps=12, population=16, mutation=0.0, seed=1)
    assert attack(loaded, [BAKE], settings, [one, other])[0].best.loss == 0.0
    assert attack(loaded, [BAKE], replace(settings, crossover=0.0), [one, other])[0].best.loss == 2.0


def test_the_loss_of_a_model_is_lowered_and_never_rises(loaded):
    for found in attack(loaded, [BAKE, SONG], replace(SMALL, steps=8, population=16), INITIAL[:2]):
        losses = [step.loss for step in found.steps]
        assert losses == sorted(losses, reverse=True)
        assert found.lowered
        assert [step.step for step in found.steps] == list(range(9))


def test_the_loss_is_that_of_the_text_as_it_is_sent(loaded):
    """Behind the chat format, BOS once, whatever stood beside it in the population (prompts of 3 to 30 words)."""
    for found in attack(loaded, [BAKE, SONG], SMALL, INITIAL):
        for step in (found.steps[0], found.best):
            ids = loaded.chat.render(step.text).ids
            assert ids.count(VOCABULARY["<|bos|>"]) == 1
            target = target_ids(loaded, found.aim.target)
            logits = loaded.model(torch.tensor([[*ids, *target]])).logits[0, len(ids) - 1 : -1]
            alone = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
            assert step.loss == pytest.approx(float(alone), abs=1e-4)
            assert step.loss == pytest.approx(float(string_losses(loaded, [found.aim], [step.text])[0]), abs=1e-4)


def test_a_behaviour_does_not_depend_on_the_others(loaded):
    together = attack(loaded, [BAKE, SONG], SMALL, INITIAL)
    alone = [attack(loaded, [aim], SMALL, INITIAL)[0] for aim in (BAKE, SONG)]
    for one, other in zip(together, alone, strict=True):
        assert [step.text for step in one.steps] == [step.text for step in other.steps]
        assert [step.loss for step in one.steps] == pytest.approx([step.loss for step in other.steps], abs=1e-4)


def test_seeds_decide(loaded):
    runs = [timeless(attack(loaded, [BAKE], replace(SMALL, seed=seed), INITIAL))[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0].extra["generation"] != runs[2].extra["generation"]


def test_behaviours_have_draws_of_their_own(loaded):
    first, second = attack(loaded, [BAKE, replace(BAKE, id="kitchen/again")], SMALL, INITIAL)
    assert [text for _, text in first.extra["generation"]] != [text for _, text in second.extra["generation"]]


@pytest.mark.parametrize("levels", ["ga", "hga"])
def test_going_on_is_the_same_as_never_having_stopped(loaded, levels):
    settings = replace(SMALL, steps=7, levels=levels)
    whole = attack(loaded, [BAKE, SONG], settings, INITIAL)
    part = attack(loaded, [BAKE], replace(settings, steps=3), INITIAL)
    kept = {one.aim.id: Trace.from_json(json.loads(json.dumps(one.to_json()))) for one in part}
    for one, other in zip(attack(loaded, [BAKE, SONG], settings, INITIAL, resume=kept), whole, strict=True):
        for step, same in zip(one.steps, other.steps, strict=True):
            assert (step.step, step.text) == (same.step, same.text)
            assert step.loss == pytest.approx(same.loss, abs=1e-5)
        assert [text for _, text in one.extra["generation"]] == [text for _, text in other.extra["generation"]]


def test_what_is_over_is_not_gone_on_with(loaded, put):
    over = replace(attack(loaded, [BAKE], SMALL, INITIAL)[0], stopped="answered")
    put.clear()
    assert attack(loaded, [BAKE], replace(SMALL, steps=9), INITIAL, resume={BAKE.id: over})[0].steps == over.steps
    assert put == []


# --- the prompts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", ["ga", "hga"])
def test_the_request_stands_in_every_prompt_as_it_is_and_no_foreign_word_does(loaded, put, levels):
    """BAKE's request is made of words that would be exchanged, were they not the request's."""
    assert words(BAKE.request) >= {"explain", "large"}
    attack(loaded, [BAKE, SONG], replace(SMALL, steps=6, share=0.8, levels=levels), INITIAL)
    frame = set(split_words(" ".join(INITIAL)))
    known = frame.union(*(SYNONYMS.get(word, ()) for word in frame), *(SYNONYMS[w] for w in SYNONYMS if w in frame))
    for _ in range(3):  # a synonym's synonym, as words are exchanged again
        known |= {other for word in known if word in SYNONYMS for other in SYNONYMS[word]}
    n = 0
    for aims, texts in put:
        for aim, text in zip(aims, texts, strict=True):
            assert text.count(aim.request) == 1
            assert "[" not in text
            rest = text.replace(aim.request, "").replace(aim.target, "")
            assert set(split_words(rest)) <= known
            n += 1
    assert n > 40


def test_a_request_that_looks_like_a_template_is_still_a_request():
    aim = Aim("odd", f"Say {REQUEST} and {TARGET}", "Sure")
    assert filled(f"{TARGET}: {REQUEST} {TARGET}", aim) == f"Sure: Say {REQUEST} and {TARGET} Sure"


def test_a_generation_has_as_many_prompts_as_asked_for_and_none_twice(loaded, put):
    found = attack(loaded, [BAKE], SMALL, INITIAL)[0]
    assert len(put[0][1]) == len(set(put[0][1])) == 8
    assert all(len(texts) <= 8 for _, texts in put)
    assert put[0][1][:3] == [filled(one, BAKE) for one in INITIAL]
    assert not any(set(now) & set(before) for (_, before), (_, now) in pairwise(put))  # the elite is known already
    assert len(found.extra["generation"]) == 8


def test_more_initial_prompts_than_the_population_are_cut(loaded, put):
    attack(loaded, [BAKE], replace(SMALL, population=2, steps=0), INITIAL)
    assert put[0][1] == [filled(one, BAKE) for one in INITIAL[:2]]


def test_prompts_do_not_grow(loaded, fitness):
    """Both long paragraphs in one child would be the best here, and twice as long as any initial prompt."""
    long = "Many sentences stand here. " * 8
    pair = (f"{long}\nShort. {REQUEST}", f"Short.\n{long}{REQUEST}")
    sizes = []
    fitness(lambda text: sizes.append(len(text)) or 100.0 / len(text))
    attack(loaded, [BAKE], AutoDAN(steps=10, population=16), pair)
    assert len(sizes) > 16
    assert max(sizes) <= 1.25 * max(map(len, pair)) + len(BAKE.request)


def test_tokens_are_those_that_were_read(loaded, monkeypatch):
    read = []
    real = autodan.text_losses

    def spy(*given):
        found = real(*given)
        read.append(sum(found.tokens))
        return found

    monkeypatch.setattr(autodan, "text_losses", spy)
    traces = attack(loaded, [BAKE, SONG], SMALL, INITIAL)
    assert sum(one.tokens for one in traces) == sum(read)
    assert all(step.seconds >= 0 for one in traces for step in one.steps)


# --- momentum word scores --------------------------------------------------------------------------------------------


def test_word_scores_are_means_over_the_prompts_that_hold_them_and_half_of_what_they_were():
    search = autodan._Search(BAKE, ranked=[(1.0, "help the story"), (3.0, "help the tale, help")])
    autodan._score(search)
    assert search.scores == {"help": -2.0, "story": -1.0, "tale": -3.0}
    search.ranked = [(4.0, "help")]
    autodan._score(search)
    assert search.scores == {"help": -3.0, "story": -1.0, "tale": -3.0}


def test_the_roulette_draws_by_softmax():
    pick = autodan._roulette({"story": 0.0, "tale": math.log(3)}, autodan._rng(0, "x", 0))
    drawn = [pick("story", ("story", "tale")) for _ in range(2000)]
    assert drawn.count("tale") / 2000 == pytest.approx(0.75, abs=0.04)
    unknown = [pick("story", ("narrative", "story")) for _ in range(2000)]
    assert unknown.count("narrative") / 2000 == pytest.approx(0.5, abs=0.04)


# --- when it ends ----------------------------------------------------------------------------------------------------


def test_patience_gives_up_where_nothing_gets_better(loaded, fitness):
    fitness(lambda text: 1.0)
    found = attack(loaded, [BAKE], AutoDAN(steps=50, population=4, patience=3), INITIAL)[0]
    assert (found.last.step, found.stopped) == (3, "patience")
    assert not found.lowered


def test_early_stop_is_when_the_best_prompts_target_is_the_likeliest(loaded, fitness):
    fitness(lambda text: float(len(text)), matched=lambda text: "Imagine" in text)
    settings = AutoDAN(steps=2, population=3, early_stop=True)
    assert attack(loaded, [BAKE], settings, INITIAL)[0].stopped == ""  # the others match, the best does not
    fitness(lambda text: -float("Imagine" in text), matched=lambda text: "Imagine" in text)
    found = attack(loaded, [BAKE], settings, INITIAL)[0]
    assert (found.last.step, found.stopped) == (0, "matched")
    assert attack(loaded, [BAKE], replace(settings, early_stop=False), INITIAL)[0].last.step == 2


def test_stop_is_asked_when_due_and_ends_one_behaviour_only(loaded):
    asked = []

    def stop(aim, step):
        asked.append((aim.id, step.step))
        return aim == BAKE and step.step >= 2

    first, second = attack(loaded, [BAKE, SONG], replace(SMALL, check_every=2), INITIAL, stop=stop)
    assert asked == [(BAKE.id, 0), (SONG.id, 0), (BAKE.id, 2), (SONG.id, 2), (SONG.id, 4)]
    assert (first.last.step, first.stopped) == (2, "answered")
    assert (second.last.step, second.stopped) == (4, "")


def test_progress_hears_of_every_step_with_the_traces_so_far(loaded):
    heard = []
    made = attack(loaded, [BAKE, SONG], SMALL, INITIAL, source_model="tiny", progress=lambda *told: heard.append(told))
    assert [number for number, _ in heard] == [0, 1, 2, 3, 4]
    assert [len(traces[1].steps) for _, traces in heard] == [1, 2, 3, 4, 5]
    assert heard[-1][1] == made
    assert {one.source_model for one in made} == {"tiny"}


# --- what cannot be right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_broken_model_even_where_another_is_fine(loaded, fitness, loss):
    fitness(lambda text: loss if "Help" in text else 1.0)
    with pytest.raises(BrokenCheckpoint, match="NaN or infinite"):
        attack(loaded, [BAKE], SMALL, INITIAL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"population": 1}, "population is a whole number from 2 on, got 1"),
        ({"steps": -1}, "steps"),
        ({"points": 0}, "points"),
        ({"elite": 1.5}, "elite is a share from 0 to 1, got 1.5"),
        ({"mutation": math.nan}, "mutation"),
        ({"levels": "gha"}, "levels is ga or hga, got 'gha'"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(RequestError, match=re.escape(words)):
        AutoDAN(**settings)


def test_an_attack_needs_initial_prompts_and_ids_of_their_own(loaded):
    with pytest.raises(RequestError, match="no initial prompts"):
        attack(loaded, [BAKE], SMALL, [])
    with pytest.raises(RequestError, match="same id"):
        attack(loaded, [BAKE, replace(SONG, id=BAKE.id)], SMALL, INITIAL)
    with pytest.raises(RequestError, match="2 times"):
        attack(loaded, [BAKE], SMALL, [f"{REQUEST} {REQUEST}"])


def test_a_prompt_that_the_model_cannot_read_is_named(loaded):
    with pytest.raises(
        RequestError, match=r"is \d+ tokens long .* 'kitchen/bake', and this model reads 256 at most: 'hel"
    ):
        attack(loaded, [BAKE], SMALL, [*INITIAL, "help " * 250])


def test_nothing_to_attack_is_no_trace(loaded):
    assert attack(loaded, [], SMALL, INITIAL) == []


def test_the_elite_is_a_share_rounded_down_but_one_at_least_and_never_all():
    sizes = [replace(SMALL, population=p, elite=e).elites for p, e in ((64, 0.1), (256, 0.05), (5, 0.1), (4, 1.0))]
    assert sizes == [6, 12, 1, 3]
    assert {name: one.elites for name, one in PRESETS.items()} == {"harmbench": 6, "original": 12}
