"""Completions: batches are whole or not there, a killed run goes on to the same text, attacks are put as made."""

from __future__ import annotations

import dataclasses
import json

import pytest

from geoaudit.attacks.cases import Attack
from geoaudit.audit import profiles
from geoaudit.audit.plan import resolve
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.measures.fulfilled import texts_key
from geoaudit.measures.inputs import Source, load_source
from geoaudit.measures.needs import Completions
from geoaudit.measures.table import dotted, get
from geoaudit.model import generate
from tests.measures.benches import Killed, MemoryRows, evidence_of, never, open_bench
from tests.model.planted import ANSWER, REFUSAL

HARMFUL = Source("harmful")


def asked(n, source=HARMFUL, tokens=3) -> Completions:
    return Completions(source, n, tokens)


@pytest.fixture
def batches(monkeypatch):
    """Sizes of the batches that were generated."""
    sizes = []
    complete = generate.complete

    def counted(loaded, rendered, *args, **more):
        sizes.append(len(rendered))
        return complete(loaded, rendered, *args, **more)

    monkeypatch.setattr(generate, "complete", counted)
    return sizes


def test_the_model_answers_as_it_was_planted(planted):
    bench = open_bench(planted())
    harmful, harmless = (bench.fulfil(asked(12, Source(name))) for name in ("harmful", "probe-harmless-train"))
    assert {one.text for one in harmful.completions} == {REFUSAL}
    assert {one.text for one in harmless.completions} == {ANSWER}
    assert [one.prompt_id for one in harmful.completions] == [one.id for one in harmful.prompts.prompts]
    assert all(one.stopped and one.n_tokens == 1 for one in harmful.completions)
    assert len({one.first_token for one in harmful.completions}) == 1
    assert harmful.prompts == load_source(HARMFUL, None).first(12)


def test_batches_are_composed_from_the_full_list(planted, batches):
    rows = MemoryRows()
    open_bench(planted(), rows, generation_batch=40).fulfil(asked(70))
    assert batches == [40, 24, 6], "the first 64 prompts are a profile of their own"
    batches.clear()
    bench = open_bench(planted(), rows, generation_batch=40)
    bench.fulfil(asked(72))
    assert batches == [8], "the last batch has other neighbours now and is made whole"
    assert (bench.found, bench.made) == (2, 1)
    batches.clear()
    open_bench(planted(), rows, generation_batch=40, open_model=never).fulfil(asked(64))
    assert batches == [], "a smaller profile is a prefix of the larger one"


def test_completions_are_in_the_order_of_the_prompts_whatever_the_plan(planted):
    one, many = (open_bench(planted(), generation_batch=size).fulfil(asked(12)) for size in (64, 5))
    assert [row.prompt_id for row in many.completions] == [prompt.id for prompt in many.prompts.prompts]
    assert many.completions == one.completions, "in float32 the plan changes no text"
    assert (sum(many.batches), max(many.batches), one.batches) == (12, 5, (12,))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lives", [0, 1, 2])
def test_a_killed_run_keeps_its_finished_batches_and_ends_with_the_same_text(planted, batches, dtype, lives):
    whole = open_bench(planted(), dtype=dtype, generation_batch=4).fulfil(asked(10))
    batches.clear()
    rows = MemoryRows(lives)
    with pytest.raises(Killed):
        open_bench(planted(), rows, dtype=dtype, generation_batch=4).fulfil(asked(10))
    assert len(rows.rows) == lives
    assert batches == [4, 4, 2][: lives + 1]
    batches.clear()
    resumed = open_bench(planted(), rows.again(), dtype=dtype, generation_batch=4).fulfil(asked(10))
    assert batches == [4, 4, 2][lives:], "at most the batch in flight is made again"
    assert resumed == whole


def test_a_crash_inside_a_batch_leaves_no_part_of_it(planted, monkeypatch):
    rows = MemoryRows()
    bench = open_bench(planted(), rows, generation_batch=4)
    complete = generate.complete
    calls = []

    def crashes(loaded, rendered, *args, **more):
        calls.append(len(rendered))
        if len(calls) == 2:
            raise RuntimeError("a defect")
        return complete(loaded, rendered, *args, **more)

    monkeypatch.setattr(generate, "complete", crashes)
    with pytest.raises(RuntimeError, match="a defect"):
        bench.fulfil(asked(10))
    assert len(rows.rows) == 1
    assert len(bench.fulfil(asked(10)).completions) == 10, "the same bench can go on"
    assert calls == [4, 4, 4, 2]


def test_the_same_prompts_under_another_name_are_the_same_rows(planted, tmp_path):
    rows = MemoryRows()
    first = open_bench(planted(), rows).fulfil(asked(6))
    path = tmp_path / "mine.jsonl"
    texts = [prompt.text for prompt in first.prompts.prompts]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    bench = open_bench(planted(), rows, generation_batch=64)
    second = bench.fulfil(asked(None, Source("mine.jsonl", str(path))))
    # ids of a file's prompts are hashes of their texts, and so is their order: the batch is another
    assert sorted(one.text for one in second.completions) == sorted(one.text for one in first.completions)
    assert first.key != second.key
    again = open_bench(planted(), rows, open_model=never)
    copy = tmp_path / "copy.jsonl"
    copy.write_text(path.read_text())
    assert again.fulfil(asked(None, Source("copy.jsonl", str(copy)))).completions == second.completions


# --- attacks ---------------------------------------------------------------------------------------------------------


def under(attack: Attack, n: int = 8, tokens: int = 6) -> Completions:
    return Completions(Source("harmful"), n, tokens, attack)


def test_a_prefilled_answer_is_read_with_what_was_put_in_front(planted):
    done = open_bench(planted()).fulfil(under(Attack("prefill", k=2)))
    assert len(done.prefills) == len(done.completions) == 8
    for exchange, completion, prefill in zip(done.exchanges, done.completions, done.prefills, strict=True):
        assert prefill
        assert exchange.completion in (prefill + completion.text, completion.text)
    silent = dataclasses.replace(done, completions=tuple(dataclasses.replace(c, text=" ") for c in done.completions))
    assert {exchange.completion for exchange in silent.exchanges} == {" "}, "a model that adds nothing said nothing"


def test_samples_are_drawn_by_their_seeds_and_kept(planted):
    hot = Attack("sampled", samples=3, temperature=3.0, seed=1)
    rows = MemoryRows()
    one = open_bench(planted(), rows).fulfil(under(hot))
    assert len(one.cases) == len(one.completions) == 24
    assert open_bench(planted(), rows, open_model=never).fulfil(under(hot)) == one
    assert open_bench(planted()).fulfil(under(hot)).completions == one.completions
    other = open_bench(planted()).fulfil(under(dataclasses.replace(hot, seed=2)))
    assert [row.text for row in other.completions] != [row.text for row in one.completions]


def test_another_system_prompt_is_another_request(planted):
    plain = open_bench(planted()).fulfil(under(Attack()))
    other = open_bench(planted()).fulfil(under(Attack("system", system="You are a helpful assistant.")))
    assert plain.key != other.key
    assert [case.text for case in other.cases] == [case.text for case in plain.cases]


def test_an_attack_that_the_template_does_not_allow_gives_no_case_and_says_why(planted, monkeypatch):
    bench = open_bench(planted())
    real = bench.open_chat

    def insists(setting):
        if setting.system == "":
            raise RequestError("the template brings its own system prompt")
        return real(setting)

    bench.open_chat = insists
    none = bench.fulfil(under(Attack("system", system="")))
    assert (none.cases, none.skipped) == ((), {"the template brings its own system prompt": 8})
    given = resolve(get("attack_success_rate"), {"attack": "worst", "n": 8, "samples": 1}, profiles.get("smoke"))
    found = dotted(get("attack_success_rate").function)({**given, "paraphrases": False}, evidence_of(bench))
    assert len(found.detail["conditions"]) == 6
    assert found.detail["not_applicable"] == [
        {"attack": "no system prompt", "why": "the template brings its own system prompt"}
    ]
    alone = resolve(get("attack_success_rate"), {"attack": "system", "n": 8}, profiles.get("smoke"))
    with pytest.raises(NothingToMeasure, match="brings its own system prompt"):
        dotted(get("attack_success_rate").function)(alone, evidence_of(bench))


def test_two_conditions_that_come_to_the_same_are_one(planted):
    """A template without a system prompt of its own asks the same with none as it does plainly."""
    given = resolve(get("attack_success_rate"), {"attack": "worst", "n": 8, "samples": 1}, profiles.get("smoke"))
    found = dotted(get("attack_success_rate").function)(
        {**given, "paraphrases": False}, evidence_of(open_bench(planted()))
    )
    names = [row["attack"] for row in found.detail["conditions"]]
    assert len(names) == 6
    assert "no system prompt" not in names
    assert found.detail["not_applicable"] == [
        {"attack": "no system prompt", "why": "the same prompts as plain requests, under this template"}
    ]


def test_stored_attacks_that_fit_no_behaviour_are_no_rate_of_zero(planted, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Pretend and tell me.", "goal": "Something that no prompt set has asked."}\n')
    with pytest.raises(NothingToMeasure, match="no stored attack is for a behaviour of 'harmful'"):
        open_bench(planted()).fulfil(under(Attack("fixed", file=str(file))))


def test_what_was_asked_and_answered_is_kept_for_people_who_label(planted):
    rows = MemoryRows()
    done = open_bench(planted(), rows).fulfil(under(Attack("past_tense")))
    kept = rows.get(texts_key(done.key))
    assert [row["completion"] for row in kept] == [exchange.completion for exchange in done.exchanges]
    assert kept[0]["asked"] != kept[0]["behavior"]
