"""Representational independence: planted dependence and independence, in profiles made by hand and inside models."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.audit.order import ordered
from geoaudit.audit.plan import prompt_hashes
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import BlockMeans
from geoaudit.geometry.independence import once_removed, profile_layers, representational_change, squared_change
from geoaudit.interventions.edits import ablate
from geoaudit.measures import coupling_sources, independence
from geoaudit.measures import profiles as reading
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CategoryMeans, CellMeans, Profiles
from geoaudit.measures.independence_needs import for_independence, profiles_of
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
)
from geoaudit.model.hooks import captured, edited, every_site
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.measures.benches import MemoryRows, evidence_of, never, open_bench
from tests.measures.couplings import USUAL, World
from tests.model.families import PROMPTS, tiny_loaded
from tests.model.planted import D, words
from tests.model.planting import DRIVEN, NORMS, Axis, Planting, plant

PARAMETERS: dict[str, Any] = {
    "form": "identified",
    "h_position": -1,
    "r_position": -1,
    "contrast": "refused",
    "direction": "carrier",
    "n_train": 32,
    "n_validation": 16,
    "chat": ChatSetting(),
}
AT: Mapping[str, Any] = {**PARAMETERS, "h_position": "t_inst"}
PAIRS, LAYERS, CONTROLS = 16, 5, 20
VALIDATION = tuple(load(name).first(PAIRS) for name in (PROBE_HARMFUL[1], PROBE_HARMLESS[1]))
SMALL = {"layers": 4, "h_layer": 1, "r_layer": 3, "fade": 0.5}


def profiles(h: float = 0.0, r: float = 0.0, controls: float = 0.01, seed: int = 0, cosine: float = 0.0) -> Profiles:
    """Profiles whose cosines change by about `h` (H without R) and `r`, and by about `controls` without a control."""
    generator = np.random.default_rng(seed)
    plain = generator.uniform(-0.3, 0.3, (2, 2 * PAIRS, LAYERS))
    size = np.array([h, r])[:, None, None] * generator.uniform(0.5, 1.5, (2, 2 * PAIRS, 1))
    beside = controls * generator.uniform(0.5, 1.5, (2, CONTROLS, 2 * PAIRS, 1))
    sign = generator.choice([-1.0, 1.0], (2, 2 * PAIRS, LAYERS))
    return Profiles(plain, plain + size * sign, plain[:, None] + beside * sign[:, None], cosine, VALIDATION)


@cache
def cells(counts: tuple[int, ...] = USUAL) -> tuple[CellMeans, CategoryMeans]:
    world = World(**SMALL, seed=3)
    return world.cells(counts), world.categories()


def measure(
    found: Profiles, of: tuple[CellMeans, CategoryMeans] | None = None, trained_on: Any = (), **given: Any
) -> Measurement:
    parameters = {**PARAMETERS, **given}
    asked = []
    made = dict(zip((Cells, Categories), of or cells(), strict=True))

    def fulfilled(need: Any) -> Any:
        asked.append(need)
        return found if isinstance(need, CosineProfiles) else made[type(need)]

    result = independence.representational_independence(parameters, Evidence("ckpt", fulfilled, frozenset(trained_on)))
    assert set(asked) <= set(for_independence(parameters))
    return result


def flags(found: Measurement, effect: str | None = None) -> set[str]:
    return {flag.name for flag in found.flags if effect in (None, flag.effect)}


def outcome(found: Measurement, comparator: str, *bound: float) -> str:
    return decide(comparator, bound, found, by="interval").outcome


# --- the number ------------------------------------------------------------------------------------------------------


def test_the_value_is_the_published_loss_averaged_over_prompts():
    made = profiles(h=0.2, r=0.1)
    found = measure(made)
    expected = np.mean(
        [
            sum(
                sum((made.without_other[v, i, k] - made.plain[v, i, k]) ** 2 for k in range(LAYERS)) / LAYERS
                for v in (0, 1)
            )
            for i in range(2 * PAIRS)
        ]
    )
    assert found.estimate == pytest.approx(expected)
    assert found.low < found.estimate < found.high
    assert found.n == 2 * PAIRS
    detail = found.detail
    assert sum(detail["changes"].values()) == pytest.approx(expected, rel=1e-4)
    assert detail["changes"]["h_without_r"] > 2 * detail["changes"]["r_without_h"]
    assert np.mean([*detail["by_kind"].values()]) == pytest.approx(expected, rel=1e-4)
    change = representational_change(made.plain, made.without_other)
    assert detail["by_kind"]["harmful"] == pytest.approx(change[:PAIRS].mean(), rel=1e-4)
    assert len(detail["by_layer"]) == detail["layers"] == LAYERS
    assert detail["by_layer"][2]["r_without_h"] == pytest.approx(made.without_other[1, :, 2].mean(), rel=1e-4)
    assert detail["profile_size"]["h"] == pytest.approx((made.plain[0] ** 2).mean(), rel=1e-4)


def test_what_the_record_gets():
    found = measure(profiles(h=0.2, r=0.1))
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert set(found.inputs) >= {each.name for each in VALIDATION}
    assert (found.detail["h_layer"], found.detail["r_layer"]) == (1, 3)
    assert (found.detail["h_position"], found.detail["r_position"]) == (-1, -1)
    assert found.detail["controls"]["n"] == CONTROLS
    assert "not KL-matched" in found.detail["controls"]["drawn"]


def test_what_taking_the_other_out_of_each_input_comes_to_stands_beside_the_value():
    made = profiles(cosine=0.4)
    plain = np.clip(made.plain, -0.3, 0.3)
    once = once_removed(plain, plain[::-1], 0.4)
    found = measure(dataclasses.replace(made, plain=plain, without_other=once))
    assert found.estimate > 1e-3
    assert found.detail["at_once"] == pytest.approx(found.detail["changes"])
    assert found.detail["cosine"] == 0.4


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([-1.0, 1.0]), st.sampled_from([-1.0, 1.0]))
def test_the_signs_of_h_and_r_change_nothing(seed: int, one: float, other: float):
    made = profiles(h=0.1, r=0.02, seed=seed, cosine=0.3)
    signs = np.array([one, other])[:, None, None]
    turned = Profiles(
        signs * made.plain,
        signs * made.without_other,
        signs[:, None] * made.controls,
        one * other * made.cosine,
        made.prompts,
    )
    first, second = measure(made), measure(turned)
    assert (second.estimate, second.low, second.high) == pytest.approx((first.estimate, first.low, first.high))
    for name in ("changes", "at_once", "p", "chance"):
        assert second.detail[name] == first.detail[name]
    assert second.flags == first.flags


def test_the_interval_holds_the_mean_over_many_prompts():
    held = 0
    for seed in range(300):
        change = np.random.default_rng(seed).gamma(2.0, 0.05, 2 * PAIRS)
        ends, how = independence._interval(change, float(change.mean()))
        assert ends is not None
        assert "16 pairs" in how
        held += ends[0] <= 0.1 <= ends[1]
    assert held >= 0.92 * 300


def test_twins_are_drawn_together():
    """What a pair shares is not averaged out: prompts that come in equal pairs are half as many."""
    half = np.random.default_rng(0).gamma(2.0, 0.05, PAIRS)
    other = np.random.default_rng(1).permutation(half)
    (low, high), _ = independence._interval(np.concatenate([half, half]), float(half.mean()))
    (less, more), _ = independence._interval(np.concatenate([half, other]), float(half.mean()))
    assert high - low > 1.2 * (more - less)


# --- controls --------------------------------------------------------------------------------------------------------


def test_dependence_beyond_all_controls_is_above_chance():
    found = measure(profiles(h=0.2, r=0.1, controls=0.01))
    assert flags(found) & {"chance-level"} == set()
    assert found.detail["p"] == pytest.approx({"sum": 1 / 21, "h_without_r": 1 / 21, "r_without_h": 1 / 21}, rel=1e-4)
    assert outcome(found, "at_least", 0.02) == "passed"
    assert outcome(found, "at_most", 0.02) == "failed"


def test_a_change_that_any_direction_gives_certifies_no_dependence():
    found = measure(profiles(h=0.2, r=0.2, controls=0.2))
    (note,) = [flag for flag in found.flags if flag.name == "chance-level"]
    assert note.effect == "note"
    assert "of 20 pairs of control directions" in note.sentence
    naive = dataclasses.replace(found, flags=(), detail={})
    assert outcome(naive, "at_least", 0.01) == "passed", "the naive number passes"
    assert outcome(found, "at_least", 0.01) == "invalid"
    assert outcome(found, "between", 0.01, 1.0) == "invalid"
    assert outcome(found, "at_most", 1.0) == "passed", "it claims no more than what any direction gives, and is told so"
    assert outcome(found, "at_least", 1.0) == "failed"


def test_one_half_within_its_controls_is_said():
    found = measure(profiles(h=0.3, r=0.01, controls=0.02))
    (note,) = [flag for flag in found.flags if flag.name == "chance-level"]
    assert note.sentence.startswith("ablating H changes R by")
    assert "20 of 20 control directions" in note.sentence
    assert found.detail["p"]["r_without_h"] == 1.0
    assert found.detail["chance"] == {"stops": []}
    assert outcome(found, "at_least", 0.02) == "passed"


def test_a_control_without_a_number_is_not_beaten():
    made = profiles(h=0.2, r=0.1, controls=0.01)
    broken = made.controls.copy()
    broken[0, 4, 3, 1] = np.nan
    found = measure(dataclasses.replace(made, controls=broken))
    assert found.detail["p"]["sum"] == pytest.approx(2 / 21, rel=1e-4)
    assert found.detail["controls"]["sum"][4] is None
    assert outcome(found, "at_least", 0.02) == "invalid"


# --- green lies ------------------------------------------------------------------------------------------------------


def test_an_activation_that_breaks_under_ablation_is_no_number():
    made = profiles(h=0.0, r=0.0)
    broken = made.without_other.copy()
    broken[1, 7, 2] = np.nan
    with pytest.raises(NothingToMeasure, match="1 of 32 prompts") as caught:
        measure(dataclasses.replace(made, without_other=broken))
    assert caught.value.detail["cells"]["harmful_refused"] == USUAL[0]


def test_directions_of_noise_are_independent_of_everything_and_certify_nothing():
    """R of labels that mean nothing: nothing depends on it, and a low value would be certified."""
    stopped = rounding = 0
    for seed in range(4):
        world = World(seed=seed, **SMALL)
        world.r = 0 * world.r
        try:
            found = measure(profiles(h=0.001, r=0.001), (world.cells(USUAL), world.categories()))
        except NothingToMeasure as error:  # no layer separates its prompts: rounding at layer 0 is left
            rounding += str(error).startswith("R: null direction")
            continue
        assert outcome(dataclasses.replace(found, flags=()), "at_most", 0.01) == "passed"
        stopped += outcome(found, "at_most", 0.01) == "invalid" and "null-direction" in flags(found, "stops")
    assert stopped + rounding == 4
    assert min(stopped, rounding) > 0


def test_cells_too_small_to_tell_h_from_r_stop_the_verdict():
    found = measure(profiles(h=0.001), cells((100, 60, 19, 120)))
    assert "unidentified-coupling" in flags(found, "stops")
    assert outcome(found, "at_most", 1.0) == "invalid"
    with pytest.raises(NothingToMeasure, match="unidentified-coupling") as caught:
        measure(profiles(), cells((160, 0, 0, 160)))
    assert caught.value.detail["cells"]["harmful_refused"] == 160


def test_prompts_that_were_trained_on_stop_the_verdict():
    found = measure(profiles(h=0.2), trained_on=[VALIDATION[1].prompts[0].sha256])
    assert "train-eval-overlap" in flags(found, "stops")


# --- inside models ---------------------------------------------------------------------------------------------------


def one_by_one(loaded: LoadedModel, axes: np.ndarray, ablated: np.ndarray | None) -> np.ndarray:
    """The same cosines, each prompt alone by one whole forward pass."""
    found = []
    for text in PROMPTS:
        ids = torch.tensor([list(loaded.chat.render(text).ids)])
        r = None if ablated is None else torch.from_numpy(ablated.astype(np.float32))
        edits = {} if r is None else dict.fromkeys(every_site(loaded), lambda x, r=r: ablate(x, r))
        places = [("resid_pre", layer) for layer in range(profile_layers(loaded.n_layers))]
        with torch.no_grad(), edited(loaded, edits), captured(loaded, places) as seen:
            loaded.causal_lm(input_ids=ids)
        rows = np.stack([seen[place][0, -1].double().numpy() for place in places])
        found.append([rows @ v / np.linalg.norm(rows, axis=-1) / np.linalg.norm(v) for v in axes])
    return np.array(found).swapaxes(0, 1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "olmo2", "gpt_neox", "gpt2", "mistral"])
def test_profiles_are_those_of_prompts_alone(family: str):
    loaded = tiny_loaded(family)
    axes = np.random.default_rng(0).standard_normal((2, loaded.d_model))
    rendered = [loaded.chat.render(text) for text in PROMPTS]
    for ablated in (None, axes[0], np.random.default_rng(1).standard_normal(loaded.d_model)):
        found = reading.read_profiles(loaded, rendered, axes, ablated)
        assert found.shape == (2, len(PROMPTS), profile_layers(loaded.n_layers))
        np.testing.assert_allclose(found, one_by_one(loaded, axes, ablated), atol=2e-5)
    itself = reading.read_profiles(loaded, rendered, axes, 7 * axes[1])[1]
    np.testing.assert_allclose(itself, 0, atol=1e-6, err_msg="what is ablated is gone from every layer's input")


def changes(loaded: LoadedModel, texts: list[str], h: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(what ablation changes, what taking out alone comes to), [2]: of H without R, of R without H."""
    rendered = [loaded.chat.render(text) for text in texts]
    plain, no_h, no_r = (reading.read_profiles(loaded, rendered, np.stack([h, r]), each) for each in (None, h, r))
    once = once_removed(plain, plain[::-1], float(h @ r))
    return tuple(squared_change(plain, each).mean(axis=-1) for each in (np.stack([no_r[0], no_h[1]]), once))  # type: ignore[return-value]


def test_orthogonal_directions_that_the_model_ties_are_not_independent(planted):
    """A head looks for the axis of harm words and writes an orthogonal one, refusal: without harm there is no refusal.

    Its other axes have nothing to do with refusal: one that only random words have is independent of it.
    """
    model = planted(layer=1, position=-1)
    loaded = open_bench(model).loaded
    refusal = model.direction.double().numpy()
    # as `planted_checkpoint` draws them
    basis = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0].T.double().numpy()
    harm, unread = basis[0], basis[40]
    assert abs(basis[1] @ refusal) == pytest.approx(1, abs=1e-5)
    assert abs(harm @ refusal) < 1e-6
    texts = [prompt.text for prompt in load(PROBE_HARMFUL[1]).first(8).prompts]
    tied, alone = changes(loaded, texts, harm, refusal)
    assert tied[1] > 0.3, "refusal is gone from every layer behind the head"
    assert alone[1] < 0.01 * tied[1], "and not because harm was taken out of where refusal stands"
    assert tied[0] < 0.01, "but harm does not come from refusal"
    loose, _ = changes(loaded, texts, unread, refusal)
    assert loose.sum() < 0.01 * tied.sum()


def half(own: list[str], others: list[str]) -> set[str]:
    """Words of some prompts and not of others that half of the prompts have one of."""
    left = sorted({word for text in own for word in words(text)} - {word for text in others for word in words(text)})
    random.Random(0).shuffle(left)
    chosen: set[str] = set()
    while 2 * sum(not chosen.isdisjoint(words(text)) for text in own) < len(own):
        chosen.add(left.pop())
    return chosen


@pytest.fixture(scope="module")
def sown(tmp_path_factory):
    """A model of four cells: it refuses half of either kind of prompt; H stands 60° to R and nothing reads it."""
    names = {"harmful": "safe-but-scary-contrasts", "harmless": "safe-but-scary"}
    harmful, harmless = (
        [
            prompt.text
            for name, n in ((f"probe-{kind}-train", 32), (other, 32), (f"probe-{kind}-validation", PAIRS))
            for prompt in load(name).first(n).prompts
        ]
        for kind, other in names.items()
    )
    triggers = frozenset(half(harmful, harmless) | half(harmless, harmful))
    planting = Planting("llama", (Axis(2, -1, NORMS[0], DRIVEN),), 0, angle=60.0)
    return plant(tmp_path_factory.mktemp("four") / "model", planting, harmful, harmless, triggers)


@pytest.fixture(scope="module")
def whole(sown) -> tuple[MemoryRows, Measurement]:
    rows = MemoryRows()
    bench = open_bench(sown, rows)
    found = independence.representational_independence(AT, evidence_of(bench))
    return rows, found


def test_in_a_model_directions_at_an_angle_change_as_much_as_taking_them_out_comes_to(whole):
    _, found = whole
    assert flags(found, "stops") == set()
    assert abs(found.detail["cosine"]) == pytest.approx(0.5, abs=0.05)
    assert found.detail["layers"] == 7
    changes, once = (np.array([*found.detail[name].values()]) for name in ("changes", "at_once"))
    np.testing.assert_allclose(changes, once, rtol=0.3)
    assert found.low <= found.estimate <= found.high
    assert found.n == 32


def test_what_was_read_is_not_read_again_and_a_killed_run_goes_on(sown, whole):
    rows, found = whole
    again = open_bench(sown, rows.again(), open_model=never)
    assert independence.representational_independence(AT, evidence_of(again)) == found
    assert again.made == 0
    fewer = rows.again()
    last = rows.written[-3:]
    for key in last:
        del fewer.rows[key]
    bench = open_bench(sown, fewer)
    assert independence.representational_independence(AT, evidence_of(bench)) == found
    assert fewer.written == last, "one row for each direction that is ablated"


def test_directions_that_are_none_have_no_profile(sown):
    bench = open_bench(sown)
    site = reading.sites(coupling_sources.find({**AT, "k": 1}, evidence_of(bench)))[1]
    assert np.linalg.norm(reading.axis(site)) == pytest.approx(1)
    with pytest.raises(NothingToMeasure, match="R: null direction"):
        reading.axis(site._replace(layer=0, position=len(site.cells[0].mean[0]) - 1))
    # float32 rounding of a large activation is no direction either
    loud = tuple(BlockMeans(cell.count, 1e-5 * cell.mean + 10) for cell in site.cells)
    with pytest.raises(NothingToMeasure, match="R: null direction: norm"):
        reading.axis(site._replace(cells=loud))


def test_who_is_ablated_and_whose_profile_is_read(sown, monkeypatch):
    """In the place of cosines stand those of the ablated direction with H and R themselves."""
    drawn = []
    true = reading.covariance_matched

    def remembered(*arguments, **more):
        drawn.append(true(*arguments, **more)[:, 0])
        return drawn[-1][:, None]

    def read(loaded, rendered, axes, ablated):
        own = np.zeros(2) if ablated is None else axes @ ablated
        return np.broadcast_to(own[:, None, None], (2, len(rendered), 7)).copy()

    monkeypatch.setattr(reading, "covariance_matched", remembered)
    monkeypatch.setattr(reading, "read_profiles", read)
    bench = open_bench(sown)
    found = bench.fulfil(profiles_of(AT))
    h, r = (reading.axis(site) for site in reading.sites(coupling_sources.find({**AT, "k": 1}, evidence_of(bench))))
    of_h, of_r = drawn
    assert len(of_h) == len(of_r) == reading.CONTROLS
    for own, target in ((of_h, h), (of_r, r)):
        assert np.abs(own @ target).max() < 1e-9
    assert not np.allclose(of_h, of_r)
    assert (found.plain == 0).all()
    assert found.controls.shape == (2, reading.CONTROLS, 32, 7)
    np.testing.assert_allclose(found.without_other[:, 0, 0], h @ r)
    np.testing.assert_allclose(found.controls[0, :, 5, 3], of_r @ h)
    np.testing.assert_allclose(found.controls[1, :, 5, 3], of_h @ r)
    assert found.cosine == pytest.approx(h @ r)


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["identified", "paper"])
def test_profiles_come_after_all_that_h_and_r_are_made_of(form: str):
    asked = {**PARAMETERS, "form": form}
    need = profiles_of(asked)
    nodes = ordered([("one", need)], family=lambda name: ("one", "two"))
    assert nodes[-1] == ("one", need)
    assert {("one", each) for each in need.made_of} <= set(nodes)
    assert (("two", Completions) in {(name, type(each)) for name, each in nodes}) == (form == "paper")
    assert any(isinstance(each, CandidateSearch) for each in need.made_of) == (form == "paper")
    assert set(need.made_of) | {need} == set(for_independence(asked))


def test_the_plan_knows_the_prompts_that_profiles_are_read_on():
    need = profiles_of(PARAMETERS)
    hashes = prompt_hashes(need, None)
    assert hashes[-2:] == tuple(each.sha256 for each in VALIDATION)
    assert set(prompt_hashes(Cells(32), None)) <= set(hashes)
