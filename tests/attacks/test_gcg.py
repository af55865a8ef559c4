"""GCG: its gradient, its losses, its choices, and that each behaviour's search is its own."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from geoaudit.attacks import gcg, scoring
from geoaudit.attacks import gradient as gradients
from geoaudit.attacks import target as aiming
from geoaudit.attacks.candidates import allowed, write
from geoaudit.attacks.gcg import GCG, State, attack, start, step
from geoaudit.attacks.gradient import gradient
from geoaudit.attacks.passes import run
from geoaudit.attacks.scoring import Losses, Put
from geoaudit.attacks.target import Aim, begun, string_losses, suffixed, target_ids
from geoaudit.errors import BrokenCheckpoint, RequestError
from tests.attacks.gcg_models import KINDS, SIX, WORDS, aims_of, model_of, plain_loss
from tests.model.families import TOKENS, VOCABULARY, tiny_loaded

SMALL = GCG(steps=4, width=24, topk=24, initial="wash wash well well well")


def settings_for(kind, **changes):
    initial = SMALL.initial if kind == "words" else "kittens is about me me"
    return replace(SMALL, initial=initial, **changes)


@pytest.mark.parametrize("name", SIX)
def test_the_gradient_agrees_with_finite_differences(name):
    loaded = tiny_loaded(name)
    loaded.model.double()
    aims = WORDS[:2]
    texts = [write(loaded, aim.request, SMALL.initial) for aim in aims]
    heads, like = begun(loaded, [text.prompt[: text.first] for text in texts])
    targets = [target_ids(loaded, aim.target) for aim in aims]
    puts = [Put(one.prompt, ids, one.first, at) for one, ids, at in zip(texts, targets, like, strict=True)]
    slopes, entropies, _ = gradient(loaded, puts, [(one.first, one.last) for one in texts], heads)
    table = loaded.embedding(torch.arange(len(VOCABULARY)))
    for aim, text, target, slope, own in zip(aims, texts, targets, slopes, entropies, strict=True):
        assert slope.shape == (5, len(VOCABULARY))
        assert sum(own) / len(own) == pytest.approx(plain_loss(loaded, aim, suffixed(aim.request, text.suffix)), 1e-5)
        steepest = slope.abs().max(dim=-1).indices.tolist()
        for position, token in ((0, 12), *enumerate(steepest)):
            moved = []
            for amount in (3e-3, -3e-3):  # norms and rotations are computed in float32 within a model in float64

                def more(module, args, output, at=text.first + position, much=amount, token=token):
                    output = output.clone()
                    output[0, at] += much * table[token]  # so much more of this token in the one-hot row
                    return output

                handle = loaded.embedding.register_forward_hook(more)
                logits = loaded.causal_lm(input_ids=torch.tensor([[*text.prompt, *target]])).logits[0]
                handle.remove()
                wanted = torch.tensor(target)
                moved.append(torch.nn.functional.cross_entropy(logits[len(text.prompt) - 1 : -1], wanted))
            expected = float(moved[0] - moved[1]) / 6e-3
            assert float(slope[position, token]) == pytest.approx(expected, rel=1e-2, abs=2e-4)


@pytest.mark.parametrize("name", SIX)
def test_the_loss_falls_and_is_that_of_the_text_in_every_architecture(name):
    loaded = tiny_loaded(name)
    for trace in attack(loaded, WORDS, SMALL):
        assert [one.step for one in trace.steps] == [0, 1, 2, 3, 4]
        assert trace.last.loss < trace.steps[0].loss - 0.05
        for one in trace.steps:
            assert one.loss == pytest.approx(plain_loss(loaded, trace.aim, one.text), abs=1e-4)
            assert one.text.startswith(f"{trace.aim.request} ")
            assert one.tokens > 0
            assert one.seconds > 0
        assert trace.steps[0].text == suffixed(trace.aim.request, SMALL.initial)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_string_tokens_and_loss_belong_together_whatever_the_tokenizer(kind, keep):
    loaded, settings = model_of(kind), settings_for(kind, filter=keep)
    states = start(loaded, aims_of(kind), settings)
    before = [state.loss for state in states]
    special = {*loaded.tokenizer.all_special_ids, *loaded.tokenizer.added_tokens_decoder}
    for _ in range(4):
        length = [len(state.suffix_ids) for state in states]
        states = step(loaded, states, settings)
        for state in states:
            text = suffixed(state.aim.request, state.suffix)
            one = write(loaded, state.aim.request, state.suffix)
            assert one.prompt == loaded.chat.render(text).ids
            assert one.ids == state.suffix_ids
            assert state.loss == pytest.approx(plain_loss(loaded, state.aim, text), abs=1e-4)
            assert not special & {*state.suffix_ids}, "BOS and its like stay out of the suffix"
            assert all(letter.isascii() for letter in state.suffix)
        assert not keep or kind == "sentencepiece" or [len(state.suffix_ids) for state in states] == length
    assert all(state.loss < first for state, first in zip(states, before, strict=True))


def test_with_all_tokens_of_one_place_to_choose_from_the_best_of_all_is_chosen():
    loaded, aims = tiny_loaded("llama"), WORDS[:2]
    usable = allowed(loaded.tokenizer, ascii_only=True).tolist()
    words = [VOCABULARY[token] for token in usable]
    settings = GCG(steps=1, width=500, topk=500, initial="wash", monotone=False, share=1.0)
    for aim, state in zip(aims, step(loaded, start(loaded, aims, settings), settings), strict=True):
        others = [word for word in words if word != "wash"]
        found = string_losses(loaded, [aim] * len(others), [suffixed(aim.request, word) for word in others])
        assert state.suffix == others[int(found.argmin())]
        assert state.loss == pytest.approx(float(found.min()), abs=1e-5)


@pytest.mark.parametrize("positions", ["even", "random"])
def test_a_behaviours_search_does_not_depend_on_the_others(positions):
    loaded, settings = tiny_loaded("llama"), replace(SMALL, positions=positions, width=40)
    together = attack(loaded, WORDS, settings)
    for trace in together:
        (alone,) = attack(loaded, [trace.aim], settings)
        assert [one.text for one in alone.steps] == [one.text for one in trace.steps]
        assert [one.loss for one in alone.steps] == pytest.approx([one.loss for one in trace.steps], abs=1e-5)
    assert [one.aim for one in together] == list(WORDS)
    other = attack(loaded, WORDS[:1], replace(settings, seed=1))
    assert other[0].last.text != together[0].last.text


def test_a_generator_stands_for_the_seed_and_is_not_advanced():
    loaded = tiny_loaded("llama")
    states = start(loaded, WORDS, SMALL)
    generator = torch.Generator().manual_seed(7)
    state = generator.get_state()
    first = step(loaded, states, SMALL, generator)
    assert torch.equal(generator.get_state(), state)
    assert first == step(loaded, states, replace(SMALL, seed=7)) != step(loaded, states, SMALL)


def test_an_interrupted_attack_goes_on_as_if_it_had_not_been():
    loaded = tiny_loaded("llama")
    for settings in (SMALL, replace(SMALL, monotone=False, width=2)):
        whole = attack(loaded, WORDS, settings)
        begun_before = {trace.aim.id: trace for trace in attack(loaded, WORDS, replace(settings, steps=2))}
        del begun_before["pet"]  # two from the middle, one from its start
        assert settings.monotone or any(one.best != one.last for one in begun_before.values()), "the last, not the best"
        again = attack(loaded, WORDS, settings, resume=begun_before)
        for one, other in zip(whole, again, strict=True):
            assert [(s.step, s.text) for s in one.steps] == [(s.step, s.text) for s in other.steps]
            assert [s.loss for s in one.steps] == pytest.approx([s.loss for s in other.steps], abs=1e-5)
        assert attack(loaded, WORDS, settings, resume={one.aim.id: one for one in whole}) == whole


def test_heads_are_computed_once_while_the_weights_stay(monkeypatch):
    made, original = [], aiming.begun
    monkeypatch.setattr(aiming, "begun", lambda loaded, heads: made.append(list(heads)) or original(loaded, heads))
    loaded, settings, heads = tiny_loaded("llama"), replace(SMALL, steps=3), aiming.Heads()
    alone = states = start(loaded, WORDS, settings)
    made.clear()
    for _ in range(3):
        alone, states = step(loaded, alone, settings), step(loaded, states, settings, heads=heads)
        assert states == alone
    assert len(made) == 3 + 1, "each step alone, and once for all"
    made.clear()
    attack(loaded, WORDS, settings)
    assert len(made) == 1 + 1, "for the losses of the start, and for all steps"
    assert heads.of(loaded, [(5, 6)])[0].layers[0][0].shape[1] == 2, "others are not mistaken for them"


@torch.no_grad()
def test_heads_of_another_model_or_of_other_weights_are_not_taken():
    loaded, other, heads = tiny_loaded("llama"), tiny_loaded("llama", intermediate_size=40), aiming.Heads()

    def values(model):
        return heads.of(model, [(5, 6)])[0].layers[-1][1].clone()

    first = values(loaded)
    assert not torch.equal(values(other), first)
    assert torch.equal(values(loaded), first)
    for weight in loaded.model.parameters():
        weight.mul_(1.01)
    assert not torch.equal(values(loaded), first)


def test_progress_is_told_after_every_step():
    told = []
    traces = attack(
        tiny_loaded("llama"), WORDS[:2], SMALL, progress=lambda number, so_far: told.append((number, so_far))
    )
    assert [number for number, _ in told] == [0, 1, 2, 3, 4]
    assert [len(so_far[0].steps) for _, so_far in told] == [1, 2, 3, 4, 5]
    assert told[-1][1] == traces


def test_a_monotone_search_never_gets_worse_and_another_takes_the_best_candidate():
    loaded, narrow = tiny_loaded("llama"), replace(SMALL, width=2, steps=8)
    for trace in attack(loaded, WORDS, replace(narrow, monotone=True)):
        losses = [one.loss for one in trace.steps]
        assert losses == sorted(losses, reverse=True)
        texts = [one.text for one in trace.steps]
        assert any(a == b for a, b in itertools.pairwise(texts)), "it stood still where nothing was better"
    rose = [
        b.loss > a.loss
        for trace in attack(loaded, WORDS, replace(narrow, monotone=False))
        for a, b in zip(trace.steps, trace.steps[1:], strict=False)
    ]
    assert any(rose)
    assert trace_moves(loaded, narrow)


def trace_moves(loaded, narrow):
    """A search that is not monotone moves in every step."""
    return all(
        a.text != b.text
        for trace in attack(loaded, WORDS, replace(narrow, monotone=False))
        for a, b in zip(trace.steps, trace.steps[1:], strict=False)
    )


def test_a_monotone_step_compares_with_the_loss_on_the_weights_as_they_are():
    loaded = tiny_loaded("llama")
    state = replace(start(loaded, WORDS[:1], SMALL)[0], loss=-5.0)  # of other weights
    (after,) = step(loaded, [state], SMALL)
    assert after.suffix != state.suffix
    assert after.loss > 0


def greedy(loaded, text, n):
    ids = list(loaded.chat.render(text).ids)
    for _ in range(n):
        ids.append(int(loaded.causal_lm(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return loaded.tokenizer.decode(ids[-n:])


def test_a_target_that_the_model_says_stops_its_behaviour_early():
    loaded, request = tiny_loaded("llama"), "draw a tiger"
    said = Aim("said", request, greedy(loaded, suffixed(request, SMALL.initial), 3))
    stop = replace(SMALL, early_stop=True)
    first, second = attack(loaded, [said, WORDS[0]], stop)
    assert (len(first.steps), first.stopped) == (1, "matched")
    assert (len(second.steps), second.stopped) == (5, "")
    assert [len(one.steps) for one in attack(loaded, [said, WORDS[0]], SMALL)] == [5, 5]
    assert start(loaded, [said], stop)[0].matched


def test_a_candidate_that_matches_ends_the_search_even_if_another_has_a_lower_loss():
    loaded = tiny_loaded("llama")
    own = [write(loaded, "draw", word) for word in ("car", "well", "house")]
    found = Losses(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([False, True, True]), (9, 9, 9))
    state = State(Aim("a", "draw", "dig"), (9,), "wash", 0.5, 4)
    for monotone in (True, False):
        settings = replace(SMALL, monotone=monotone, early_stop=True)
        after = gcg._chosen(state, own, found, settings)
        assert (after.suffix, after.loss, after.step, after.matched, after.before) == ("house", 2.0, 5, True, 0.5)
    assert gcg._chosen(state, own, found, replace(SMALL, monotone=False)).suffix == "car"
    assert gcg._chosen(state, own, found, SMALL) == replace(state, step=5, before=0.5)


def test_where_no_candidate_keeps_its_tokens_all_are_taken_with_those_of_their_text():
    loaded = model_of("byte-level, chatml")
    base = write(loaded, "tell me", "about me")
    piece = loaded.tokenizer.backend_tokenizer.model.token_to_id
    apart = [(piece("Ġ"), *map(piece, word)) for word in ("kittens", "about")]
    found = gcg._sendable(loaded, base, "tell me", apart, GCG())
    assert [one.suffix for one in found] == ["kittens", "about"]
    assert [one.ids for one in found] == [write(loaded, "tell me", one.suffix).ids for one in found] != apart
    whole = (piece("Ġkittens"),)
    assert [one.ids for one in gcg._sendable(loaded, base, "tell me", [*apart, whole], GCG())] == [whole]
    assert len(gcg._sendable(loaded, base, "tell me", [*apart, whole], GCG(filter=False))) == 2, "equal ones once"


def test_two_stages_lose_little(monkeypatch):
    monkeypatch.setattr(scoring, "LEAST_SAVED", 1)
    loaded = tiny_loaded("llama")
    few, every = (attack(loaded, WORDS, replace(SMALL, width=48, share=share)) for share in (0.25, 1.0))
    for one, other in zip(few, every, strict=True):
        gained, possible = one.steps[0].loss - one.last.loss, other.steps[0].loss - other.last.loss
        assert gained > 0.5 * possible
        assert one.tokens < other.tokens


def test_a_draft_ranks_and_the_model_itself_says_the_losses():
    loaded = tiny_loaded("llama")
    settings = replace(SMALL, width=64, steps=3)
    for one, other in zip(
        attack(loaded, WORDS, replace(settings, draft=True)), attack(loaded, WORDS, settings), strict=True
    ):
        for step_of_it in one.steps:
            assert step_of_it.loss == pytest.approx(plain_loss(loaded, one.aim, step_of_it.text), abs=1e-5)
        gained, possible = one.steps[0].loss - one.last.loss, other.steps[0].loss - other.last.loss
        assert gained > 0.9 * possible
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("which", [(), ("pet",)])
def test_a_behaviour_whose_candidates_cannot_be_sent_stays_where_it_is(monkeypatch, which):
    from geoaudit.attacks.candidates import written

    def some(loaded, base, request, drawn):
        found = written(loaded, base, request, drawn)
        return found if request == "draw" and which else [None] * len(found)

    monkeypatch.setattr(gcg, "written", some)
    for trace in attack(tiny_loaded("llama"), WORDS, SMALL):
        assert (trace.last.loss < trace.steps[0].loss) == (trace.aim.id in which)
        assert len(trace.steps) == 5


def test_memory_that_runs_out_halves_the_batch(monkeypatch):
    loaded = tiny_loaded("llama")
    expected = attack(loaded, WORDS, SMALL)
    sizes = []

    def small(loaded, rows, before=None, *, keep=False):
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more")
        return run(loaded, rows, before, keep=keep)

    monkeypatch.setattr(gradients, "run", small)
    found = attack(loaded, WORDS, SMALL)
    assert [one.last.text for one in found] == [one.last.text for one in expected]
    assert sizes[:4] == [3, 1, 2, 1]
    monkeypatch.setattr(gradients, "run", lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        attack(loaded, WORDS, SMALL)


def test_the_model_is_left_as_it_was():
    loaded = tiny_loaded("llama")
    loaded.model.requires_grad_(True)
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    noise = torch.get_rng_state()
    attack(loaded, WORDS, SMALL)
    assert torch.equal(torch.get_rng_state(), noise)
    assert torch.is_grad_enabled()
    assert all(weight.requires_grad and weight.grad is None for weight in loaded.model.parameters())
    assert all(torch.equal(weights[name], value) for name, value in loaded.model.state_dict().items())
    assert not loaded.embedding._forward_hooks
    assert not loaded.model.training


def test_it_runs_under_no_grad_too():
    loaded = tiny_loaded("llama")
    with torch.no_grad():
        assert attack(loaded, WORDS, SMALL)[0].last.loss < attack(loaded, WORDS, replace(SMALL, steps=0))[0].last.loss


def test_half_precision():
    loaded = tiny_loaded("llama")
    loaded.model.bfloat16()
    for trace in attack(loaded, WORDS, SMALL):
        assert trace.last.loss < trace.steps[0].loss
        assert trace.last.loss == pytest.approx(plain_loss(loaded, trace.aim, trace.last.text), abs=0.1)


def test_a_model_that_is_training_is_refused():
    loaded = tiny_loaded("llama")
    states = start(loaded, WORDS, SMALL)
    loaded.model.train()
    for action in (lambda: step(loaded, states, SMALL), lambda: start(loaded, WORDS, SMALL)):
        with pytest.raises(RequestError, match=r"call model\.eval\(\)"):
            action()


def test_broken_weights_are_said_so():
    loaded = tiny_loaded("llama")
    with torch.no_grad():
        loaded.blocks[0].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(BrokenCheckpoint, match="loss of a target is nan"):
        start(loaded, WORDS, SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"width": 0}, "width must be 1 or more"),
        ({"topk": 0}, "topk must be 1 or more"),
        ({"n_replace": 0}, "n_replace must be 1 or more"),
        ({"n_replace": 2}, "even positions replace one token"),
        ({"positions": "odd"}, "positions are 'even' or 'random', got 'odd'"),
        ({"share": 0.0}, "share is above 0 and at most 1"),
        ({"share": float("nan")}, "share is above 0 and at most 1"),
        ({"initial": " "}, "initial is empty"),
    ],
)
def test_settings_that_cannot_be_right(changes, message):
    with pytest.raises(RequestError, match=message):
        GCG(**changes)


def test_presets_say_what_the_references_do():
    harmbench, nano = GCG.harmbench(), GCG.nanogcg(width=64)
    assert (harmbench.steps, harmbench.width, harmbench.topk, harmbench.positions) == (500, 512, 256, "even")
    assert (nano.steps, nano.width, nano.topk, nano.positions) == (250, 64, 256, "random")
    assert not (harmbench.monotone)
    assert not (nano.monotone)
    assert harmbench.share == nano.share == 1
    assert harmbench.initial.split() == ["!"] * 20
    assert nano.initial.split() == ["x"] * 20
    assert len({harmbench, nano, GCG()}) == 3, "hashable"


def test_lists_of_different_lengths_and_ids_that_are_shared():
    loaded = tiny_loaded("llama")
    with pytest.raises(RequestError, match="one initial suffix for each aim, got 1 for 3"):
        start(loaded, WORDS, SMALL, ["wash"])
    with pytest.raises(RequestError, match="some of 2 aims share one"):
        attack(loaded, [WORDS[0], WORDS[0]], SMALL)
    assert start(loaded, [], SMALL) == []
    assert step(loaded, [], SMALL) == []
    assert attack(loaded, [], SMALL) == []


def test_a_trace_holds_the_settings_and_its_source():
    (trace,) = attack(tiny_loaded("llama"), WORDS[:1], replace(SMALL, steps=1), source_model="tiny")
    assert (trace.attack, trace.source_model) == ("gcg", "tiny")
    assert trace.settings["width"] == 24
    assert trace.settings["share"] == SMALL.share
    assert TOKENS[trace.last.text.split()[-1]] > 8
