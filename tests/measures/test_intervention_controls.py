"""Kinds of control: what decides, what cannot be drawn, and a layer so fragile that anything does as well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from geoaudit.audit.decide import decide
from geoaudit.audit.plan import resolve
from geoaudit.audit.profiles import PROFILES
from geoaudit.audit.profiles import get as profile
from geoaudit.carriers.scores import kl_to_base
from geoaudit.errors import GeoauditError, NothingToMeasure
from geoaudit.geometry.controls import category_contrasts
from geoaudit.geometry.directions import overall
from geoaudit.interventions.edits import ablate
from geoaudit.measures.bench import Bench
from geoaudit.measures.fulfilled import CategoryMeans
from geoaudit.measures.inputs import File, Source
from geoaudit.measures.intervention_needs import for_intervention, intervention_of, least_controls
from geoaudit.measures.interventions import intervention_sensitivity
from geoaudit.measures.needs import Categories
from geoaudit.measures.preparing import prepared
from geoaudit.measures.table import get
from geoaudit.measures.target_needs import KL, KL_MATCHED, with_controls
from geoaudit.model.hooks import edited, every_site
from geoaudit.records import Measurement
from geoaudit.stats.randomisation import rank_p
from tests.measures import carriers
from tests.measures.benches import SHARED, MemoryRows, evidence_of, never, open_bench
from tests.measures.carriers import made_evidence
from tests.measures.fragile import fragile_checkpoint
from tests.measures.test_interventions import GIVEN, SMALL, made, stopped
from tests.model.planted import ANSWER

OF_KL = {
    "outcome": KL,
    "source": Source("benign-utility"),
    "controls": "norm_matched",
    "scope": "every_site_but_first_token",
    "expects": "higher",
}


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1), SHARED)


@pytest.fixture(scope="module")
def fragile(planted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fragile") / "model"
    return open_bench(fragile_checkpoint(planted(layer=2, position=-1), folder), MemoryRows())


def sensitivity(bench: Bench, **changed) -> Measurement:
    return intervention_sensitivity({**SMALL, **changed}, evidence_of(bench))


def stored(folder, name: str, direction: torch.Tensor) -> dict:
    """Parameters of a stored target."""
    file = folder / f"{name}.safetensors"
    save_file({"direction": direction.contiguous()}, file)
    return {"target": "stored", "file": File(str(file)), "layer": -1}


# --- contrasts between categories ------------------------------------------------------------------------------------


def test_the_planted_effect_is_beyond_contrasts_between_harmless_topics(bench):
    found = sensitivity(bench, controls="categories")
    assert stopped(found) == []
    assert found.high < -5
    assert found.detail["decides"] == "kl_matched"
    assert found.detail["controls_of"] == "categories"
    assert 1 < found.detail["control_dimensions"] < 8, "eight topics differ in seven dimensions"
    assert abs(found.detail["control_mean"]) < 0.2 * abs(found.detail["effect"])


@pytest.mark.parametrize("target", ["R", "H"])
def test_they_are_those_contrasts_at_the_site_of_the_target(bench, target):
    need = intervention_of({**SMALL, "target": target, "controls": "categories"})
    edits = prepared(bench, need)
    means: CategoryMeans = bench.fulfil(need.categories)
    at_last, at_instruction = means.means, means.means_inst
    sides = at_last if target == "R" else at_instruction
    index = edits.target.position if target == "R" else 0
    site = np.array([overall(side)[index, edits.target.layer] for side in sides])
    spanned = np.linalg.svd(site - site.mean(axis=0), full_matrices=False).Vh[: len(site) - 1]
    frames = edits.matched.frames[:, 0]
    rows = edits.target.rows
    beside = spanned - (spanned @ rows.T) @ rows
    outside = frames - frames @ np.linalg.pinv(beside) @ beside
    assert np.abs(outside).max() < 1e-6, "differences in means of topics, less what they have of the target"
    assert np.abs(frames @ rows.T).max() < 1e-8
    other = prepared(bench, dataclasses.replace(need, controls="covariance")).matched.frames[:, 0]
    assert np.abs(frames @ other.T).max() < 1 - 1e-6


def test_the_plan_reads_the_topics_only_where_they_decide():
    kinds = [{type(need) for need in for_intervention({**SMALL, "controls": kind})} for kind in KL_MATCHED]
    assert [Categories in each for each in kinds] == [False, True]


# --- the check `uncontrolled` ----------------------------------------------------------------------------------------


def few_topics(planted, keep: int) -> Bench:
    """A bench that knows some of the topics only."""
    found = open_bench(planted(layer=2, position=-1), SHARED)
    need = intervention_of({**SMALL, "controls": "categories"}).categories
    means: CategoryMeans = found.fulfil(need)
    found._fulfilled[need] = dataclasses.replace(
        means, names=means.names[:keep], means=means.means[:keep], means_inst=means.means_inst[:keep]
    )
    return found


def test_one_contrast_drawn_many_times_is_one_control(planted, bench):
    """Two topics differ in one way: nineteen copies of it would be beaten, and the p-value would pass."""
    effect = sensitivity(bench, controls="categories").detail["effect"]
    few = few_topics(planted, 2)
    edits = prepared(bench, intervention_of(SMALL))
    means = few.fulfil(intervention_of({**SMALL, "controls": "categories"}).categories).means
    (single,) = category_contrasts(means, -1, 2, edits.target.rows, n=1, seed=0)
    copies = np.repeat(single @ edits.target.rows[0], SMALL["n_controls"])  # of a control that does nothing
    assert rank_p(effect, copies, "less") <= 0.05, "the naive number passes"
    with pytest.raises(NothingToMeasure, match=r"uncontrolled: no controls: .*2 categories.*1 dimension"):
        sensitivity(few, controls="categories")


def test_three_topics_have_too_few_contrasts(planted):
    with pytest.raises(NothingToMeasure, match="uncontrolled: too few controls: 3 categories"):
        sensitivity(few_topics(planted, 3), controls="categories")


def test_a_subspace_of_more_dimensions_than_the_topics_differ_in(planted, tmp_path):
    three = stored(tmp_path, "three", torch.eye(64)[[5, 17, 40]])
    with pytest.raises(NothingToMeasure, match=r"uncontrolled: no controls: .*2 dimensions"):
        sensitivity(few_topics(planted, 3), controls="categories", **three)


def test_a_target_that_leaves_no_room_for_random_ones(bench, tmp_path):
    almost_all = stored(tmp_path, "almost", torch.eye(64)[:63])
    with pytest.raises(NothingToMeasure, match="uncontrolled"):
        sensitivity(bench, **almost_all)


# --- a fragile layer -------------------------------------------------------------------------------------------------

SUBTRACTED = {"operator": "add", "scope": "single_layer", "dose": -0.5}


@pytest.mark.parametrize("controls", KL_MATCHED)
def test_a_fragile_layer_where_a_plain_random_direction_does_as_well(fragile, controls):
    """Subtracting half of R weakens refusal, and so does adding anything: the layer is fragile, R nothing special."""
    found = sensitivity(fragile, controls=controls, **SUBTRACTED)
    bare = dataclasses.replace(
        found,
        estimate=found.detail["effect"],
        low=found.detail["effect_low"],
        high=found.detail["effect_high"],
        flags=(),
    )
    assert decide("at_most", (-5.0,), bare, by="interval").outcome == "passed", "the naive number passes"
    assert "within-controls" in stopped(found)
    assert decide("at_most", (-5.0,), found, by="interval").outcome == "invalid"
    random = found.detail["controls"]["random"]["effect"]
    assert max(random) < found.detail["effect"], "a plain random direction does as well"
    assert found.detail["kl"] < 1, "harmless prompts do not show it"


def test_the_same_on_a_layer_that_is_not(bench):
    found = sensitivity(bench, **SUBTRACTED)
    assert stopped(found) == []
    assert found.high < -5
    assert abs(found.detail["control_mean"]) < 0.2 * abs(found.detail["effect"])


# --- KL on harmless prompts ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starts(bench, tmp_path_factory) -> dict:
    """A stored direction that every answer of the planted model hangs on."""
    token = bench.chat.tokenizer.convert_tokens_to_ids(ANSWER)
    axis = bench.loaded.causal_lm.lm_head.weight[token].detach().float()
    return stored(tmp_path_factory.mktemp("directions"), "starts", axis)


@pytest.mark.parametrize("controls", ["norm_matched", "random"])
def test_what_answers_hang_on_disturbs_them_more_than_others_do(bench, starts, controls):
    found = sensitivity(bench, **{**OF_KL, "controls": controls}, **starts)
    assert stopped(found) == []
    assert found.low > 1
    assert found.detail["p"] == pytest.approx(1 / (SMALL["n_controls"] + 1))
    assert (found.detail["unedited"], found.detail["decides"]) == (0.0, controls)
    assert found.detail["controls"][controls]["n"] == SMALL["n_controls"]
    assert "kl_matched" not in found.detail["controls"], "their KL would be the target's by construction"
    assert found.unit == "nats of KL, beyond controls"


def test_a_direction_out_of_nowhere_disturbs_no_more_than_others(bench, tmp_path):
    drawn = torch.randn(64, generator=torch.Generator().manual_seed(5))
    for expects in ("higher", "lower"):
        found = sensitivity(bench, **{**OF_KL, "expects": expects}, **stored(tmp_path, "drawn", drawn))
        assert stopped(found) == ["within-controls"]
        assert "norm-matched controls" in found.flags[-1].sentence


def test_the_kl_of_each_prompt_is_that_of_plain_passes(bench, starts):
    """Base against ablated, at every site, token 0 left as it is."""
    need = intervention_of({**SMALL, **OF_KL, **starts, "n_held_out": 4})
    effects = bench.fulfil(need)
    loaded, axis = bench.loaded, torch.from_numpy(prepared(bench, need).target.vector).float()

    def behind_the_first(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1], ablate(x[:, 1:], axis)], dim=1)

    prompts = bench.prompts(need.source).first(4).prompts
    for place, prompt in enumerate(prompts):
        ids = torch.tensor([list(loaded.chat.render(prompt.text).ids)])
        with torch.no_grad():
            plain = loaded.causal_lm(input_ids=ids).logits[:, -1]
            with edited(loaded, dict.fromkeys(every_site(loaded), behind_the_first)):
                changed = loaded.causal_lm(input_ids=ids).logits[:, -1]
        assert effects.target[place] == pytest.approx(float(kl_to_base(plain, changed)[0]), abs=1e-4)
    np.testing.assert_array_equal(effects.base, 0)
    assert effects.deciding is effects.controls["norm_matched"]
    np.testing.assert_allclose(effects.deciding.kl, effects.deciding.scores.mean(axis=1))


def test_the_carrier_of_refusal_costs_harmless_prompts_nothing(bench):
    """Nor do its controls: what is left is rounding, and of rounding a rank would say what one likes."""
    probes = {**OF_KL, "source": Source("probe-harmless-validation")}
    effects = bench.fulfil(intervention_of({**SMALL, **probes}))
    assert max(effects.kl.mean(), effects.deciding.kl.max()) < 1e-5
    with pytest.raises(NothingToMeasure, match=r"neither the target nor any control .* nothing to compare"):
        sensitivity(bench, **probes)


def test_large_damage_is_the_number_and_no_flag(bench, starts):
    found = sensitivity(bench, **OF_KL, **starts)
    assert found.detail["edited"] > 1
    assert stopped(found) == []


def test_what_is_added_at_random_is_as_long_as_the_target(bench):
    adding = {**OF_KL, "operator": "add", "scope": "single_layer", "controls": "random"}
    edits = prepared(bench, intervention_of({**SMALL, **adding}))
    size = np.linalg.norm(edits.target.vector)
    assert size > 1
    np.testing.assert_allclose(np.linalg.norm(edits.matched.frames, axis=-1), size)
    assert (edits.controls.decides, set(edits.beside)) == ("random", {"wrong_layer", "wrong_position"})
    np.testing.assert_array_equal(edits.controls.doses, 1.0)


def test_tokens_that_say_nothing_of_refusal_stop_its_score_and_not_a_kl():
    effects = made(2.0, 0.0)
    renamed = {"norm_matched": effects.controls["kl_matched"]}
    for outcome, decided, flags in (
        ({"outcome": KL}, dataclasses.replace(effects, controls=renamed, decides="norm_matched"), []),
        ({}, effects, ["refusal-score-uncalibrated"]),
    ):
        evidence = made_evidence(effects=decided, refuses=lambda index: carriers.ANSWER)
        assert stopped(intervention_sensitivity({**GIVEN, "expects": "higher", **outcome}, evidence)) == flags


def test_what_is_stored_is_read_without_the_model(planted, bench, starts):
    found = sensitivity(bench, **OF_KL, **starts)
    again = open_bench(planted(layer=2, position=-1), SHARED, open_model=never)
    assert sensitivity(again, **OF_KL, **starts) == found


# --- what goes together ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"outcome": KL, "controls": "covariance"}, "by construction"),
        ({"outcome": KL, "controls": "categories"}, "by construction"),
        ({"outcome": KL, "source": "harmful"}, "the source 'harmful' is harmful"),
        ({"controls": "norm_matched"}, "covariance or categories"),
        ({"controls": "random"}, "covariance or categories"),
        ({"outcome": KL, "controls": "norm_matched", "target": "H+R"}, "controls: random"),
        ({"outcome": KL, "controls": "norm_matched", "dose": 0.5}, "controls: random"),
        ({"outcome": KL, "controls": "norm_matched", "operator": "add", "scope": "single_layer"}, "controls: random"),
        ({"outcome": KL, "controls": "norm_matched", "scope": "every_site"}, "every_site_but_first_token"),
        ({"outcome": KL, "n_controls": 5}, "underpowered"),
    ],
)
def test_controls_that_cannot_decide_are_refused_before_anything_runs(given, said):
    with pytest.raises(GeoauditError, match=said):
        resolve(get("intervention_sensitivity"), given, profile("smoke"))


@pytest.mark.parametrize(
    ("given", "controls", "scope"),
    [
        ({}, "norm_matched", "every_site_but_first_token"),
        ({"scope": "every_site"}, "random", "every_site"),
        ({"operator": "add"}, "random", "single_layer"),
        ({"target": "subspace"}, "random", "every_site"),
        ({"dose": 2.0}, "random", "every_site"),
        ({"dose": -1.0}, "norm_matched", "every_site_but_first_token"),
    ],
)
def test_harmless_kl_has_controls_that_are_not_matched_on_it(given, controls, scope):
    found = resolve(get("intervention_sensitivity"), {"outcome": KL, **given}, profile("smoke"))
    assert (found["controls"], found["scope"]) == (controls, scope)
    assert found["source"] == Source("benign-utility")


CHOICES = {
    "outcome": (KL, "refusal_score"),
    "target": ("R", "H+R", "subspace", "stored"),
    "operator": ("ablate", "add"),
    "scope": ("every_site", "every_site_but_first_token", "single_layer"),
    "dose": (1.0, -1.0, 0.5),
    "controls": ("covariance", "categories", "norm_matched", "random"),
    "direction": ("carrier", "nearest"),
}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHOICES.items()}))
def test_what_is_filled_in_stays_and_takes_nothing_away(given):
    full = with_controls(given)
    assert with_controls(full) == full
    assert given.items() <= full.items()


def test_a_release_has_controls_enough_for_one_in_a_hundred():
    n = {name: one.defaults["n_controls"] for name, one in PROFILES.items()}
    assert n["release"] == least_controls(0.99, "lower") == 99
    assert n["smoke"] == n["standard"] == least_controls(0.95, "either")
    assert resolve(get("causal_matrix"), {}, profile("release"))["n_controls"] == 99
    assert resolve(get("dose_response"), {}, profile("release"))["n_controls"] == 19
