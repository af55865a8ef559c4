"""The bench: rows are measured once, batches are whole or not there, and a killed run goes on to the same text."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from geoaudit.attacks.cases import Attack
from geoaudit.audit import profiles
from geoaudit.audit.plan import resolve
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure, RequestError
from geoaudit.measures.bench import Contract, load_source
from geoaudit.measures.fulfilled import texts_key
from geoaudit.measures.needs import CandidateSearch, Completions, Judged, Probe, Source
from geoaudit.measures.table import dotted, get
from geoaudit.model import generate, numerics
from geoaudit.records import Judgement
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


# --- completions -----------------------------------------------------------------------------------------------------


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


def test_nothing_is_opened_when_every_row_is_there(planted):
    rows = MemoryRows()
    first = open_bench(planted(), rows)
    needs = [asked(8), Probe(32), CandidateSearch(Probe(32), 8, 0.8)]
    for need in needs:
        first.fulfil(need)
    second = open_bench(planted(), rows, open_model=never)
    for need in needs:
        second.fulfil(need)
    assert second.made == 0
    assert second.found == first.made
    assert second.fulfil(needs[0]) is second.fulfil(needs[0])


CHANGES = {
    "dtype": {"dtype": "bfloat16"},
    "batch": {"generation_batch": 3},
    "blocks": {"probe_blocks": 16},
    "numerics": {"numerics": numerics.VERSION + 1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_rows_of_another_contract_are_not_used(planted, change):
    rows = MemoryRows()
    open_bench(planted(), rows).fulfil(asked(4))
    bench = open_bench(planted(), rows, **change)
    bench.fulfil(asked(4))
    assert bench.found == 0


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Contract)])
def test_every_field_of_the_contract_is_in_the_keys_of_rows(planted, field):
    rows = MemoryRows()
    bench = open_bench(planted(), rows)
    bench.fulfil(asked(4))
    now = getattr(bench.contract, field)
    other = dataclasses.replace(
        open_bench(planted(), rows),
        contract=dataclasses.replace(bench.contract, **{field: now + 1 if isinstance(now, int) else now + "x"}),
    )
    other.fulfil(asked(4))
    assert (other.found, other.made) == (0, 1)


def test_what_is_computed_now_is_keyed_by_the_numerics_of_now(planted):
    assert open_bench(planted()).contract.numerics == numerics.VERSION


def test_rows_of_another_checkpoint_system_prompt_or_length_are_not_used(planted):
    rows = MemoryRows()
    open_bench(planted(), rows).fulfil(asked(4))
    for other in (
        open_bench(planted(layer=2), rows),
        open_bench(planted(), rows, system="you bake bread"),
        open_bench(planted(), rows, template="chatml"),
    ):
        other.fulfil(asked(4))
        assert other.found == 0
    longer = open_bench(planted(), rows)
    longer.fulfil(asked(4, tokens=4))
    assert longer.found == 0


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


def test_progress_ends_at_all(planted):
    bench = open_bench(planted(), generation_batch=4)
    search = CandidateSearch(Probe(32), 8, 0.8)
    for need, total in ((asked(10), 10), (Probe(32), 64), *((one, 8) for one in search.answered), (search, 24)):
        seen = []
        bench.progress = lambda done, of, seen=seen: seen.append((done, of))
        bench.fulfil(need)
        assert seen[-1] == (total, total), "a search counts screening and scoring"
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# --- activations -----------------------------------------------------------------------------------------------------


def test_block_means_cover_every_prompt_position_and_layer(planted):
    found = open_bench(planted()).fulfil(Probe(40))
    assert found.tokens == ("<|end|>", "<|assistant|>", "<|answer|>")
    assert found.n == 40
    assert set(found.inputs) == {"probe-harmful-train", "probe-harmless-train"}
    for means in (found.harmful, found.harmless):
        assert means.count.sum() == 40
        assert means.count.size == 32
        assert means.mean.shape == (32, 3, 7, 64)
        assert np.isfinite(means.mean).all()


def test_a_killed_probe_keeps_the_half_that_was_done(planted):
    rows = MemoryRows(lives=1)
    with pytest.raises(Killed):
        open_bench(planted(), rows).fulfil(Probe(32))
    bench = open_bench(planted(), rows.again())
    resumed, whole = bench.fulfil(Probe(32)), open_bench(planted()).fulfil(Probe(32))
    assert (bench.found, bench.made) == (1, 1)
    np.testing.assert_array_equal(resumed.harmful.mean, whole.harmful.mean)
    np.testing.assert_array_equal(resumed.harmless.mean, whole.harmless.mean)


def test_a_template_without_post_instruction_tokens_says_what_to_pass(planted):
    bench = open_bench(planted(), template="none", open_model=never)
    for need in (Probe(32), CandidateSearch(Probe(32), 8, 0.8)):
        with pytest.raises(NothingToMeasure, match=r"no post-instruction tokens.*--geoaudit-template"):
            bench.fulfil(need)


def test_a_broken_checkpoint_stops_every_need_and_stores_nothing(planted):
    def broken():
        raise BrokenCheckpoint("tensor x has 3 NaN")

    rows = MemoryRows()
    bench = open_bench(planted(), rows, open_model=broken)
    for need in (asked(4), Probe(32), CandidateSearch(Probe(32), 8, 0.8)):
        with pytest.raises(BrokenCheckpoint, match="3 NaN"):
            bench.fulfil(need)
    assert rows.rows == {}


# --- refusal tokens --------------------------------------------------------------------------------------------------


def test_the_models_own_refusals_add_their_first_token(planted):
    search = CandidateSearch(Probe(32), 8, 0.8)
    own = set(open_bench(planted()).fulfil(search).refusal_tokens)
    never_refuses = set(open_bench(planted(refuses=False)).fulfil(search).refusal_tokens)
    assert own - never_refuses == {REFUSAL}


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


# --- judges that are no rules ----------------------------------------------------------------------------------------


class Slow:
    """A judge that counts what it is asked."""

    id = "slow 1"
    caveats = ("made up",)

    def __init__(self, say=lambda number: "not_harmful", fails=None):
        self.say, self.fails, self.asked, self.closed = say, fails, [], 0

    def __call__(self, exchanges, progress=None):
        if self.fails is not None and len(self.asked) >= self.fails:
            raise BrokenCheckpoint("its weights are NaN")
        first = len(self.asked)
        self.asked += exchanges
        return [Judgement(self.say(first + i), None, "harmbench", "") for i in range(len(exchanges))]

    def close(self):
        self.closed += 1


@pytest.fixture
def judged(planted, monkeypatch):
    """(a judge, rows) -> what a bench makes of it."""

    def run(judge, rows, n=40, **more):
        monkeypatch.setattr("geoaudit.judges.get", lambda name, setup=None: judge)
        bench = open_bench(planted(), rows, **more)
        return bench, bench.fulfil(Judged(Completions(Source("harmful"), n, 3), "harmbench"))

    return run


def test_a_judgement_is_made_once_and_the_model_is_let_go_first(judged):
    rows, judge = MemoryRows(), Slow()
    bench, found = judged(judge, rows)
    assert {one.label for one in found.judgements} == {"not_harmful"}
    assert (found.judge_id, found.caveats) == ("slow 1", ("made up",))
    assert len(judge.asked) == 40
    assert "loaded" not in vars(bench), "two models at a time need the memory of two"
    assert judge.closed == 1
    again = Slow()
    assert judged(again, rows.again(), open_model=never)[1] == found
    assert again.asked == []


def test_what_the_judge_could_not_answer_is_asked_again(judged):
    rows = MemoryRows()
    judged(Slow(lambda number: "unjudged" if number in (3, 35) else "harmful"), rows)
    again = Slow(lambda number: "not_harmful")
    _, found = judged(again, rows.again(), open_model=never)
    assert len(again.asked) == 2
    assert [one.label for one in found.judgements].count("not_harmful") == 2


def test_a_judge_that_breaks_is_not_a_broken_checkpoint_and_what_it_said_is_kept(judged):
    rows = MemoryRows()
    with pytest.raises(NothingToMeasure, match="the judge harmbench cannot judge: its weights are NaN") as raised:
        judged(Slow(fails=32), rows)
    assert not isinstance(raised.value, BrokenCheckpoint), "the audited weights are another matter"
    again = Slow()
    judged(again, rows.again(), open_model=never)
    assert len(again.asked) == 8, "the first 32 were stored"


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
