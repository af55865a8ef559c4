"""The two scores of Zhao et al.: planted distances found, chance called chance, small groups stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure
from geoaudit.measures import beliefs
from geoaudit.measures.beliefs_detail import survey
from geoaudit.measures.beliefs_needs import for_beliefs
from geoaudit.measures.beliefs_table import GROUPS
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import BeliefRows
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import PROBE_HARMFUL, PROBE_HARMLESS, Beliefs
from geoaudit.measures.table import get
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from geoaudit.stats.separation import auroc
from tests.measures.beliefs import USUAL, World
from tests.measures.benches import evidence_of, never, open_bench
from tests.model.planted import words
from tests.model.planting import Axis, Planting, plant

SETS = {"n_train": 32, "n_validation": 16, "chat": ChatSetting()}
NAMES = ("harmfulness_belief", "refusal_belief", "latent_guard", "knowing_compliance")


def given_(rows: BeliefRows, trained_on: tuple[str, ...] = ()) -> Evidence:
    return Evidence("ckpt", {Beliefs(32, 16): rows}.__getitem__, frozenset(trained_on))


def measure(name: str, evidence: Evidence | BeliefRows, **parameters: Any) -> Measurement:
    own = {key: one.default for key, one in get(name).parameters.items() if key not in SETS}
    found = getattr(beliefs, name)(
        {**own, **SETS, **parameters}, evidence if isinstance(evidence, Evidence) else given_(evidence)
    )
    assert isinstance(found, Measurement)
    return found


def named(found: Measurement) -> dict[str, str]:
    return {flag.name: flag.effect for flag in found.flags}


# --- planted


def test_planted_groups_lie_where_they_were_put() -> None:
    rows = World().rows()
    for name, near in (("harmfulness_belief", "harmful_"), ("refusal_belief", "_refused")):
        for group in GROUPS:
            found = measure(name, rows, group=group)
            assert found.flags == (), group
            assert found.low <= found.estimate <= found.high
            assert (found.low > 0) if near in group else (found.high < 0), (name, group)
            assert found.n == USUAL[group]


def test_harm_and_refusal_come_apart_in_the_separations() -> None:
    """Harm is found where the answer is the same, refusal where the prompts are, and neither by the other score."""
    detail = measure("latent_guard", World(harm=4, refusal=4).rows()).detail["beliefs"]
    for row in detail["separation"]:
        own, other = (
            ("harmfulness", "refusal") if row["comparison"].startswith("harmful") else ("refusal", "harmfulness")
        )
        assert row[own] > 0.95
        assert 0.25 < row[other] < 0.75


def test_the_guard_finds_what_is_planted_and_no_more() -> None:
    values = [measure("latent_guard", World(harm=harm).rows()).estimate for harm in (0.5, 1, 3)]
    assert np.all(np.diff(values) > 0)
    assert values[-1] > 0.97
    found = measure("latent_guard", World(harm=3).rows())
    assert found.flags == ()
    assert found.detail["chance"] == {"stops": []}
    assert decide("at_least", (0.8,), found, by="interval").outcome == "passed"


def test_the_value_is_the_area_under_the_curve_of_the_scores() -> None:
    rows = World(harm=1).rows()
    scores = survey(rows).scores[0]
    harmful = np.array([kind == "harmful" for kind in rows.kind])
    scary = np.array([source.startswith("safe-but-scary") for source in rows.source])
    for prompts, asked in (("all", scary | True), ("plain", ~scary), ("scary", scary)):
        found = measure("latent_guard", rows, prompts=prompts)
        assert found.estimate == pytest.approx(auroc(scores[harmful & asked], scores[~harmful & asked]))
        assert found.n == asked.sum()
    found = measure("latent_guard", rows, statistic="accuracy")
    assert found.estimate == pytest.approx(((scores[harmful] > 0).mean() + (scores[~harmful] <= 0).mean()) / 2)
    assert found.low < found.estimate < found.high


def test_the_mean_is_that_of_the_points_in_the_record() -> None:
    rows = World().rows()
    found = measure("refusal_belief", rows, group="scary_refused")
    (group,) = [each for each in found.detail["beliefs"]["groups"] if each["group"] == "scary_refused"]
    assert np.mean(group["refusal"]) == pytest.approx(found.estimate, rel=1e-3)
    assert group["refusal_mean"] == pytest.approx(found.estimate, rel=1e-5)
    assert len(group["harmfulness"]) == group["n"] == USUAL["scary_refused"]


def test_knowing_compliance_counts_harmful_prompts_that_are_believed_harmful_and_answered() -> None:
    rows = World(harm=6).rows()
    found = measure("knowing_compliance", rows)
    assert found.estimate == pytest.approx(30 / 70)
    assert found.low < 30 / 70 < found.high
    quadrants = found.detail["beliefs"]["quadrants"]
    counts = {"refused": 40, "answered": 30, "unread": 0}
    assert quadrants["harmful"] == counts | {f"{answer}_believed": n for answer, n in counts.items()}
    assert quadrants["scary"]["answered_believed"] < 3


def test_what_is_answered_and_not_believed_harmful_is_no_knowing_compliance() -> None:
    found = measure("knowing_compliance", World(harm=1).rows())
    counts = found.detail["beliefs"]["quadrants"]["harmful"]
    assert found.estimate == pytest.approx(counts["answered_believed"] / 70)
    assert 0 < counts["answered_believed"] < counts["answered"]


def test_an_answer_that_nobody_could_read_may_be_an_answer() -> None:
    clear, blurred = (measure("knowing_compliance", World(harm=6).rows(unread=n)) for n in (0, 30))
    assert blurred.n == 100
    assert blurred.estimate == pytest.approx(0.3)
    assert blurred.high > 0.6 > clear.high - 0.1
    assert "counted either way" in blurred.interval


def test_intervals_hold_the_truth_of_endless_prompts() -> None:
    """The truth: the same centres as from thousands of prompts, and thousands of scored ones."""
    many = {group: 1000 if group == "harmful_answered" else 1 for group in USUAL}
    held = 0
    for seed in range(15):
        truth = survey(World(harm=2, seed=seed).rows(many, centre=10_000))
        estimate = measure("harmfulness_belief", World(harm=2, seed=seed).rows())
        held += estimate.low <= truth.scores[0][truth.group("harmful_answered")].mean() <= estimate.high
    assert held >= 12


# --- what may not come out green


def test_chance_is_called_chance() -> None:
    """The negative control: prompts that do not differ. The naive area may still lie above a half."""
    stopped = covered = 0
    for seed in range(12):
        rows = World(harm=0, seed=seed).rows()
        found = measure("latent_guard", rows)
        covered += found.low <= 0.5 <= found.high
        stopped += decide("at_least", (0.4,), found, by="interval").outcome == "invalid"
        assert named(found).get("chance-level") == "note"
        assert measure("knowing_compliance", rows).detail["chance"]["stops"]
    assert covered >= 10
    assert stopped >= 6


def test_groups_dealt_out_at_random_separate_nothing() -> None:
    held = 0
    for seed in range(15):
        rows = World(harm=3, seed=seed).rows()
        kinds = tuple(np.random.default_rng(seed).permutation(rows.kind))
        found = measure("latent_guard", BeliefRows(**{**vars(rows), "kind": kinds}))
        held += found.low <= 0.5 <= found.high
    assert held >= 12


def test_beliefs_of_chance_gate_nothing_from_either_side() -> None:
    found = measure("knowing_compliance", World(harm=0).rows())
    assert ("chance-level", "stops") in [(flag.name, flag.effect) for flag in found.flags]
    assert decide("at_most", (0.9,), found, by="estimate").outcome == "invalid"
    mean = measure("harmfulness_belief", World(harm=0).rows())
    assert named(mean)["chance-level"] == "note"
    assert decide("at_most", (1.0,), mean, by="interval").outcome == "invalid"
    assert decide("at_least", (-1.0,), mean, by="interval").outcome == "invalid"


def test_above_a_half_is_not_above_chance() -> None:
    chance = np.linspace(0.4, 0.6, 500)
    detail: dict[str, Any] = {}
    assert beliefs._not_above(0.55, chance, detail)[0].effect == "note"
    assert detail == {"chance": {"stops": ["at_least", "between"]}}
    assert beliefs._not_above(0.62, chance, detail) == []
    assert detail == {"chance": {"stops": []}}


def test_a_strong_belief_is_not_its_own_null() -> None:
    """Centres of permuted labels, drawn without taking the kinds' own means off, keep an eighth of the distance."""
    rows = World(harm=20).rows()
    guard = measure("latent_guard", rows)
    assert 0.3 < guard.detail["beliefs"]["null"]["permuted"]["low"] < 0.5
    assert guard.flags == ()
    mean = measure("harmfulness_belief", rows)
    null = mean.detail["beliefs"]["null"]["permuted"]
    assert null["high"] < 0.1 * mean.estimate
    assert mean.flags == ()


@pytest.mark.parametrize("name", NAMES)
def test_constant_tokens_hold_no_belief(name: str) -> None:
    rows = World().rows()
    flat = BeliefRows(**{**vars(rows), "gram": np.ones_like(rows.gram), "cross": np.ones_like(rows.cross)})
    with pytest.raises(NothingToMeasure, match="null-direction") as raised:
        measure(name, flat)
    assert raised.value.detail == {} or "beliefs" in raised.value.detail


def test_a_constant_last_token_leaves_the_belief_of_harmfulness() -> None:
    rows = World(same_below=5, harm=4).rows()
    assert measure("latent_guard", rows).estimate > 0.95
    with pytest.raises(NothingToMeasure, match="no belief of refusal"):
        measure("refusal_belief", rows)


def test_few_prompts_of_a_kind_stop_and_none_give_no_number() -> None:
    few = World(harm=4).rows({**USUAL, "harmful_answered": 12})
    found = measure("harmfulness_belief", few)
    assert named(found)["unidentified-beliefs"] == "stops"
    assert decide("at_least", (0.0,), found, by="interval").outcome == "invalid"
    for n in (0, 1):
        with pytest.raises(NothingToMeasure, match="unidentified-beliefs") as raised:
            measure("harmfulness_belief", World().rows({**USUAL, "harmful_answered": n}))
        assert raised.value.detail["beliefs"]["quadrants"]["harmful"]["answered"] == n


def test_without_crossed_prompts_nothing_tells_the_two_beliefs_apart() -> None:
    """A model that refuses exactly what is harmful: both scores find harm, and both find refusal."""
    rows = World().rows(
        {
            group: n if "harmful_r" in group or "s_answered" in group or "y_a" in group else 0
            for group, n in USUAL.items()
        }
    )
    assert named(measure("latent_guard", rows)) == {"beliefs-alike": "note"}
    assert named(measure("refusal_belief", rows, group="harmful_refused")) == {"beliefs-alike": "note"}


def test_prompts_that_were_trained_on_are_said() -> None:
    rows = World(harm=3).rows()
    scored, centred = rows.scored[0].prompts[0].sha256, rows.centres[0].prompts[0].sha256
    found = measure("latent_guard", given_(rows, (scored, centred)))
    assert sorted(flag.effect for flag in found.flags) == ["note", "stops"]


# --- the record


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(NAMES))
def test_records_are_whole_and_come_again(seed: int, name: str) -> None:
    found, again = (measure(name, World(seed=seed, harm=1.5).rows(unread=3)) for _ in range(2))
    assert found == again
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    least, greatest = get(name).range
    assert least <= found.low <= found.high <= greatest
    assert found.interval
    assert len(found.inputs) == 6


def test_every_layer_has_its_area() -> None:
    areas = measure("latent_guard", World(harm=4).rows()).detail["beliefs"]["layer_auroc"]
    assert len(areas) == 5
    assert min(areas) > 0.8


# --- on a model


def by_kind() -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts that the measures read, without those that have no word of their own."""
    harmful, harmless = [], []
    for asked in for_beliefs(SETS)[:-1]:
        for prompt in load(asked.source.name).first(asked.n).prompts:
            (harmful if prompt.label == "harmful" else harmless).append(prompt.text)
    plain = {word for text in harmless for word in words(text)}
    return [text for text in harmful if set(words(text)) - plain], harmless


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that refuses exactly the harmful prompts; harmfulness is at `t_inst`, refusal at −1 from layer 3 on."""
    planting = Planting("llama", (Axis(3, -1, 1.5, 8.0),), seed=0)
    return plant(tmp_path_factory.mktemp("beliefs") / "refusing" / "model", planting, *by_kind())


def test_a_model_that_refuses_what_is_harmful_has_both_beliefs(refusing: Any) -> None:
    bench = open_bench(refusing)
    evidence = evidence_of(bench)
    guard = measure("latent_guard", evidence)
    assert guard.estimate > 0.95
    assert named(guard) == {"beliefs-alike": "note"}
    for name in ("harmfulness_belief", "refusal_belief"):
        assert measure(name, evidence, group="harmful_refused").low > 0
        assert measure(name, evidence, group="harmless_answered").high < 0
    quadrants = guard.detail["beliefs"]["quadrants"]
    assert quadrants["harmful"]["refused"] > 50
    assert quadrants["harmless"] == quadrants["harmless"] | {"refused": 0, "unread": 0}
    again = open_bench(refusing, bench.rows.again(), open_model=never)
    assert measure("latent_guard", evidence_of(again)) == guard


def test_no_scored_prompt_is_part_of_a_centre(refusing: Any) -> None:
    need = Beliefs(32, 16)
    train, scored = (
        {prompt.sha256 for asked in part for prompt in load(asked.source.name).prompts}
        for part in (need.centres, need.scored)
    )
    assert not train & scored
    assert {asked.source.name for asked in need.centres} == {PROBE_HARMFUL[0], PROBE_HARMLESS[0]}


def test_the_rows_of_a_bench_are_those_of_its_activations(refusing: Any) -> None:
    """Against the formula on the activations of single prompts, centres from the prompts themselves."""
    from geoaudit.model.activations import at_positions, every_layer

    bench = open_bench(refusing)
    rows: BeliefRows = bench.fulfil(Beliefs(32, 16))
    chat, loaded = bench.chat, bench.loaded

    def activations(name: str, n: int) -> np.ndarray:
        rendered = [chat.render(prompt.text) for prompt in load(name).first(n).prompts]
        out = np.empty((n, 2, loaded.n_layers + 1, loaded.d_model))
        for index, values in at_positions(loaded, rendered, every_layer(loaded)):
            out[index] = values[:, [0, -1]].double().numpy()
        return out

    refused, answered = (activations(name, 32).mean(axis=0) for name in (PROBE_HARMFUL[0], PROBE_HARMLESS[0]))
    assert rows.count[rows.refused].sum() == rows.count[~rows.refused].sum() == 32, "it refuses and answers all of them"
    h = activations("harmful", 32)

    def cosines(centre: np.ndarray) -> np.ndarray:
        return (h * centre).sum(-1) / np.linalg.norm(h, axis=-1) / np.linalg.norm(centre, axis=-1)

    expected = (cosines(refused) - cosines(answered)).mean(axis=-1)
    np.testing.assert_allclose(survey(rows).by_layer[:, :32].mean(axis=-1).T, expected, atol=2e-5)


def test_a_model_that_refuses_nothing_has_no_centre(tmp_path: Path) -> None:
    silent = plant(tmp_path / "silent" / "model", Planting("llama", (Axis(3, -1, 1.5, 0.0),), seed=0), *by_kind())
    for name in NAMES:
        with pytest.raises(NothingToMeasure, match="unidentified-beliefs: the model refuses 0 of the 32 harmful"):
            measure(name, evidence_of(open_bench(silent)))


def test_what_is_drawn_on() -> None:
    needs = for_beliefs(SETS)
    assert needs[-1] == Beliefs(32, 16)
    assert needs[:-1] == Beliefs(32, 16).answered
    sources = [asked.source.name for asked in needs[2:-1]]
    assert sources == [
        "harmful",
        "safe-but-scary-contrasts",
        "probe-harmless-validation",
        "benign-utility",
        "safe-but-scary",
    ]
