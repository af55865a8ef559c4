"""R2D2: a slow recomputation of whole steps, what the published loop got wrong, and nothing lost by a kill."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from geoaudit.attacks import gcg
from geoaudit.attacks.target import Aim, string_losses, suffixed
from geoaudit.errors import RequestError
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.manifest import read as read_manifest
from geoaudit.prompts.overlap import overlap
from geoaudit.records import Prompt, PromptSet
from geoaudit.training.pool import FILE, Pool
from geoaudit.training.r2d2 import R2D2Training
from geoaudit.training.r2d2_settings import R2D2
from tests.model.families import TOKENS
from tests.model.planted import HARMFUL, SPECIAL
from tests.training.r2d2_tiny import REFUSALS, behaviors, prepared, recipe, training, weights

WORDS = [word for word in TOKENS if word not in SPECIAL and word.isascii()]


# --- a slow recomputation -----------------------------------------------------------------------------------


def token_losses(model, prompt, answer):
    """Cross-entropy of each token of an answer, one sequence by itself."""
    return all_token_losses(model, [prompt], answer)[0]


def all_token_losses(model, prompts, answer):
    """The same for prompts of one length, `[prompts, tokens]`."""
    [length] = {len(prompt) for prompt in prompts}
    logits = model(input_ids=torch.tensor([[*prompt, *answer] for prompt in prompts]), use_cache=False).logits
    logs = logits.log_softmax(-1)
    return torch.stack([-logs[:, length - 1 + t, token] for t, token in enumerate(answer)], dim=1)


def slow_attack(loaded, case, steps):
    """GCG that tries every word at every place, by texts alone."""
    target = loaded.tokenizer(case.target, add_special_tokens=False)["input_ids"]
    words, loss = case.suffix.split(), float("nan")
    for _ in range(steps):
        tried = [
            " ".join([*words[:place], word, *words[place + 1 :]])
            for place, now in enumerate(words)
            for word in WORDS
            if word != now
        ]
        prompts = [loaded.chat.render(f"{case.request} {suffix}").ids for suffix in tried]
        with torch.no_grad():
            losses = all_token_losses(loaded.model, prompts, target).mean(dim=1).tolist()
        loss, suffix = min(zip(losses, tried, strict=True))
        words = suffix.split()
    return " ".join(words), loss


def slow_run(given, start):
    """Optimiser steps of the recipe, row by row and token by token. Returns the model, the pool and the losses."""
    one, settings = start, given.r2d2
    model, tokenizer = one.model, one.tokenizer
    loaded = LoadedModel(model, tokenizer, one.chat)
    pool = Pool(settings, behaviors()[0].behaviors, given.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=given.learning_rate, eps=given.epsilon, weight_decay=0.0)
    micro, size, curves = given.batch // given.micro_batch, given.micro_batch, []
    for step in range(given.steps):
        rows = [one.rows[step * given.batch + i] for i in range(given.batch)]
        learnt = sum(sum(row.learnt) for row in rows)
        noted = {"clean": 0.0, "away": 0.0, "toward": 0.0}
        total = torch.zeros(())
        for i in range(micro):
            pool.reset_if_due(step)
            places = pool.draw()
            prompts, openings = [], []
            for place in places:
                case = pool.cases[place]
                suffix, loss = slow_attack(loaded, case, settings.gcg_steps)
                pool.attacked(place, suffix, loss, settings.gcg_steps)
                prompts.append(f"{case.request} {suffix}")
                openings.append(case.target)
            for number, behavior in enumerate(pool.plain()):
                prompts.append(behavior.request)
                openings.append(pool.opening(behavior, number))
            refusals = [pool.refusal(number) for number in range(len(prompts))]
            away, toward = [], []
            for prompt, opening, refusal in zip(prompts, openings, refusals, strict=True):
                ids = one.chat.render(prompt).ids
                for entropy in token_losses(model, ids, tokenizer(opening, add_special_tokens=False)["input_ids"]):
                    p = torch.exp(-entropy)
                    away.append(-torch.log1p(-p) if -entropy >= settings.away_floor else 0 * p)
                answer = [*tokenizer(refusal, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                toward += token_losses(model, ids, answer)
            clean = torch.zeros(())
            for row in rows[i * size : (i + 1) * size]:
                n = row.learnt.index(True)
                clean = clean + token_losses(model, row.ids[:n], row.ids[n:]).sum() / learnt
            means = torch.stack(away).mean(), torch.stack(toward).mean()
            total = total + clean + (settings.away_weight * means[0] + settings.toward_weight * means[1]) / micro
            noted["clean"] += clean.item()
            noted["away"] += means[0].item() / micro
            noted["toward"] += means[1].item() / micro
            pool.end_micro_step()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        curves.append({**noted, "loss": total.item()})
    return model, pool, curves


EXHAUSTIVE = {"width": 3 * (len(WORDS) - 1), "topk": len(WORDS), "initial_tokens": [3, 3], "gcg_steps": 1, "plain": 2}


def test_steps_agree_with_a_slow_recomputation(tmp_path):
    # a large epsilon: otherwise AdamW makes a whole step of the rounding of a gradient that is nearly 0
    given = recipe(steps=2, epsilon=1e-3, r2d2={**EXHAUSTIVE, "reset_every": 1, "reset_share": 0.25})
    fast = training(tmp_path, given)
    fast.run()
    model, pool, curves = slow_run(given, prepared(given))
    assert [(case.id, case.suffix, case.steps) for case in fast.pool.cases] == [
        (case.id, case.suffix, case.steps) for case in pool.cases
    ]
    for name in ("loss", "clean", "away", "toward"):
        assert fast.curves()[name] == pytest.approx([step[name] for step in curves], abs=2e-5)
    start = weights(training(tmp_path / "fresh", given))
    for name, weight in model.named_parameters():
        assert torch.allclose(fast.model.get_parameter(name), weight, atol=2e-5), name
        assert not torch.allclose(start[name], weight, atol=1e-4), f"{name} was trained"


def test_the_weights_of_the_three_losses_are_those_of_the_recipe(tmp_path):
    settings = {"clean_weight": 0.25, "away_weight": 2.0, "toward_weight": 0.0}
    given = recipe(steps=1, r2d2=settings)
    one = training(tmp_path, given)
    one.run()
    curves = {name: values[0] for name, values in one.curves().items()}
    assert curves["loss"] == pytest.approx(0.25 * curves["clean"] + 2 * curves["away"], abs=1e-5)
    assert curves["toward"] > 0.1


def test_what_it_is_trained_to_do_it_does(tmp_path):
    given = recipe(steps=20, micro_batch=4, learning_rate=5e-3, r2d2={"reset_share": 0, "refusals": REFUSALS[:2]})
    one = training(tmp_path, given)
    one.run()
    curves = one.curves()
    assert curves["toward"][-1] < 0.3 * curves["toward"][0], "it refuses"
    assert max(curves["away"][-5:]) < 0.1
    with one.reading() as loaded, torch.no_grad():
        for case in one.pool.cases:
            prompt = loaded.chat.render(suffixed(case.request, case.suffix)).ids
            said = [
                float(token_losses(loaded.model, prompt, ids).mean()) for ids in tokens(loaded, given.r2d2.refusals)
            ]
            [opening] = tokens(loaded, [case.target])
            assert min(said) < float(token_losses(loaded.model, prompt, opening).mean()) - 1


def tokens(loaded, texts):
    return [loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


# --- the attack ---------------------------------------------------------------------------------------------


def attacked(one):
    """The rows of a micro-step of a run that has not begun."""
    one.current_gradient_accumulation_steps = 1
    return one.attacked_rows()


def test_the_attack_raises_the_openings_likelihood_and_the_pool_keeps_what_it_found(tmp_path):
    one = training(tmp_path, recipe(r2d2={"gcg_steps": 3, "monotone": True, "plain": 0, "updated": 4}))
    before = list(one.pool.cases)
    attacked(one)
    assert one._noted["attack_after"][0] < one._noted["attack_before"][0] - 0.1
    assert all(new.steps == 3 and new.visits == 1 for new in one.pool.cases)
    assert any(new.suffix != old.suffix for old, new in zip(before, one.pool.cases, strict=True))
    with one.reading() as loaded:
        cases = one.pool.cases
        losses = string_losses(
            loaded, [Aim(c.id, c.request, c.target) for c in cases], [suffixed(c.request, c.suffix) for c in cases]
        )
    assert [case.loss for case in cases] == pytest.approx(losses.tolist(), abs=1e-5), "the loss is that of the string"


def test_a_case_goes_on_where_it_stood(tmp_path, monkeypatch):
    one = training(tmp_path, recipe(r2d2={"updated": 4, "plain": 0}))
    made, original = [], gcg.step

    def spied(loaded, states, settings, heads):
        made.append({(state.aim.id, state.step) for state in states})
        return original(loaded, states, settings, heads=heads)

    monkeypatch.setattr(gcg, "step", spied)
    attacked(one)
    first = [case.suffix for case in one.pool.cases]
    one.pool.end_micro_step()
    attacked(one)
    for before, case in zip(first, one.pool.cases, strict=True):
        changed = sum(a != b for a, b in zip(before.split(), case.suffix.split(), strict=True))
        assert changed <= 2, "two more steps change two words at most"
        assert case.steps == 4
    assert one._noted["attack_before"][1] == pytest.approx(one._noted["attack_after"][0], abs=1e-5)
    ids = [case.id for case in one.pool.cases]
    wanted = [{(case, step) for case in ids} for step in range(4)]
    assert made == wanted, "draws hang on case and step: a step that is counted again would draw the same again"


def test_the_attack_leaves_the_model_as_it_is(tmp_path):
    one = training(tmp_path)
    one.model.train()
    torch.manual_seed(1)
    state, before = torch.get_rng_state(), weights(one)
    attacked(one)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.model.training
    assert all(weight.grad is None for weight in one.model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in one.model.named_parameters())
    assert not any(module._forward_hooks for module in one.model.modules())


def test_outside_training_the_loss_is_the_clean_one(tmp_path):
    one = training(tmp_path)
    inputs = one.data_collator([one.train_dataset[i] for i in range(2)])
    before = list(one.pool.cases)
    one.model.eval()
    loss = one.compute_loss(one.model, dict(inputs))
    assert loss.item() == pytest.approx(one.model(**inputs).loss.item(), abs=1e-6)
    assert (one.pool.cases, one.pool.micro_step) == (before, 0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_attack_runs_in_the_precision_of_the_training(tmp_path, monkeypatch, precision):
    one = training(tmp_path, recipe(steps=1, precision=precision))
    seen, original = set(), gcg.step

    def spied(loaded, states, settings, heads):
        seen.add(torch.is_autocast_enabled("cpu"))
        return original(loaded, states, settings, heads=heads)

    monkeypatch.setattr(gcg, "step", spied)
    one.run()
    assert seen == {precision == "bfloat16"}
    assert all(weight.dtype == torch.float32 for weight in one.model.parameters())


@pytest.mark.parametrize("family", ["mistral", "qwen2", "phi3", "gemma2", "olmo2", "gpt_neox"])
def test_a_step_on_other_architectures(tmp_path, family):
    given = recipe(steps=1, micro_batch=None, r2d2={"monotone": True, "width": 40})
    one = training(tmp_path, given, family)
    before = weights(one)
    one.run()
    curves = {name: values[0] for name, values in one.curves().items()}
    assert curves["attack_after"] < curves["attack_before"]
    expected = curves["clean"] + 0.5 * curves["away"] + 0.5 * curves["toward"]
    assert curves["loss"] == pytest.approx(expected, abs=1e-5)
    assert all(not torch.equal(weight, before[name]) for name, weight in weights(one).items() if weight.ndim > 1)


def test_gradient_checkpointing_changes_nothing(tmp_path):
    plain, checkpointed = (
        training(tmp_path / str(on), recipe(steps=2, epsilon=1e-3, gradient_checkpointing=on)) for on in (False, True)
    )
    plain.run()
    checkpointed.run()
    assert [case.suffix for case in checkpointed.pool.cases] == [case.suffix for case in plain.pool.cases]
    for name, weight in weights(plain).items():
        assert torch.allclose(checkpointed.model.get_parameter(name), weight, atol=1e-5), name


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for the old name
def test_a_lora_is_trained_and_its_base_is_not(tmp_path):
    given = recipe(steps=2, adapter={"rank": 2}, learning_rate=3e-2)
    start = prepared(given)
    base = {name: weight.detach().clone() for name, weight in start.model.named_parameters()}
    start.model.requires_grad_(False)
    start.model = get_peft_model(
        start.model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    one = R2D2Training(given, start, tmp_path, sets=behaviors(), say=lambda line: None)
    one.run()
    after = {name.replace("base_model.model.", "").replace(".base_layer", ""): w for name, w in weights(one).items()}
    assert all(torch.equal(after[name], weight) for name, weight in base.items())
    assert all(weight.abs().max() > 0 for name, weight in after.items() if "lora_B" in name)
    assert (tmp_path / "step2" / "adapter_config.json").is_file()
    assert (tmp_path / "step2" / FILE).is_file()


# --- what the published loop got wrong ----------------------------------------------------------------------


def test_no_token_that_begins_a_text_stands_inside_a_prompt(tmp_path):
    one = training(tmp_path)
    bos = one.tokenizer.bos_token_id
    for rows in attacked(one):
        for row in rows:
            assert row.prompt[0] == bos
            assert row.ids.count(bos) == 1


def test_the_rows_are_the_prompts_that_an_audit_of_the_checkpoint_renders(tmp_path):
    from transformers import AutoTokenizer

    given = recipe(steps=1)
    one = training(tmp_path, given)
    seen = []
    original = one.attacked_rows

    def spied():
        seen.append(original())
        return seen[-1]

    one.attacked_rows = spied
    one.run()
    folder = tmp_path / "step1"
    chat = Chat(AutoTokenizer.from_pretrained(folder))
    cases = {case.id: case for case in one.pool.cases}
    rendered = {chat.render(suffixed(case.request, case.suffix)).ids for case in cases.values()}
    rendered |= {chat.render(request).ids for request in HARMFUL[:3]}
    last_away, last_toward = seen[-1]
    assert {row.prompt for row in last_away} == {row.prompt for row in last_toward}
    assert {row.prompt for row in last_away} <= rendered
    assert read_manifest(folder).chat_sha256 == chat.sha256


def test_behaviours_are_in_the_manifest_and_an_audit_on_them_is_told_apart(tmp_path):
    one = training(tmp_path, recipe(steps=1))
    one.run()
    manifest = read_manifest(tmp_path / "step1")
    hashes = manifest.prompt_sets["tiny"].prompts
    audited = PromptSet("x", tuple(Prompt(f"x/{i}", t, "harmful", "c") for i, t in enumerate(HARMFUL)), "here", "none")
    assert overlap(audited, hashes) == ("x/0", "x/1", "x/2")
    assert any("one space stands between" in note for note in manifest.notes)


def test_the_validation_split_is_trained_on_only_where_it_is_named():
    assert "harmbench-val" not in R2D2().behaviors
    assert "harmbench-val" not in R2D2(preset="paper").behaviors
    assert "harmbench-val" in R2D2(preset="harmbench").behaviors
    assert any("in-sample" in one for one in R2D2(preset="harmbench").differences)


def test_refusals_are_of_several_wordings_and_end_the_turn(tmp_path):
    one = training(tmp_path)
    seen = set()
    for _ in range(4):
        _, toward = attacked(one)
        seen |= {row.answer for row in toward}
        one.pool.end_micro_step()
    texts = {one.tokenizer.decode(list(answer[:-1])) for answer in seen}
    assert texts <= set(one.settings.refusals)
    assert len(texts) > 2
    assert all(answer[-1] == one.tokenizer.eos_token_id for answer in seen)
    _, open_ended = attacked(training(tmp_path, recipe(r2d2={"refusal_end": False})))
    assert all(one.tokenizer.eos_token_id not in row.answer for row in open_ended)


def test_plain_requests_stand_beside_the_attacked_ones(tmp_path):
    one = training(tmp_path)
    away, toward = attacked(one)
    plain = {one.chat.render(request).ids for request in HARMFUL[:3]}
    assert [row.prompt in plain for row in away] == [False, False, True, True]
    assert [row.prompt for row in away] == [row.prompt for row in toward]
    none, _ = attacked(training(tmp_path, recipe(r2d2={"plain": 0})))
    assert len(none) == 2


# --- kill and resume ----------------------------------------------------------------------------------------


class Killed(Exception):
    """The plug was pulled."""


@pytest.mark.parametrize("kill", [1, 2])
def test_a_killed_run_resumes_to_the_same_weights_and_pool(tmp_path, kill):
    given = recipe(steps=3, resume_every=1, r2d2={"reset_every": 2})
    whole = training(tmp_path / "whole", given)
    whole.run()
    first = training(tmp_path / "cut", given)
    original = first.attacked_rows

    def cut():
        if first.state.global_step == kill and first.pool.micro_step % 2:
            raise Killed
        return original()

    first.attacked_rows = cut
    with pytest.raises(Killed):
        first.run()
    second = training(tmp_path / "cut", given)
    second.run()
    assert second.started_at == kill
    for name, weight in weights(whole).items():
        assert torch.equal(second.model.get_parameter(name), weight), name
    assert second.pool.to_json() == whole.pool.to_json()
    assert second.curves() == whole.curves()
    one, other = (json.loads((tmp_path / run / "step3" / FILE).read_text()) for run in ("whole", "cut"))
    assert one == other == whole.pool.to_json()


def test_a_state_without_a_pool_is_not_taken(tmp_path):
    with pytest.raises(RequestError, match="no pool"):
        training(tmp_path).load_extra_state({})


# --- errors -------------------------------------------------------------------------------------------------


def test_shares_that_do_not_divide_say_so(tmp_path, monkeypatch):
    one = training(tmp_path, recipe(r2d2={"plain": 1}))
    monkeypatch.setattr(type(one.accelerator), "num_processes", property(lambda self: 2))
    with pytest.raises(RequestError, match=r"r2d2\.plain is 1, which does not divide among 2"):
        one._check_processes()


def test_a_recipe_without_the_block_is_refused(tmp_path):
    given = recipe().model_copy(update={"r2d2": None})
    with pytest.raises(RequestError, match="without an r2d2 block"):
        training(tmp_path, given)
