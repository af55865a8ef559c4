"""Coupling of planted contrasts: the angle put in comes out, unrelated ones stay at chance, no trick turns green."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures import coupling, coupling_sources
from geoaudit.measures.coupling_levels import Sides, permuted
from geoaudit.measures.coupling_mix import Mix
from geoaudit.measures.coupling_needs import for_coupling
from geoaudit.measures.coupling_sources import IDENTIFIED
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CELLS, CategoryMeans, CellMeans, Projected
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Categories, Cells, Projections
from geoaudit.records import Measurement
from tests.measures import carriers
from tests.measures.couplings import SETS, USUAL, World, blocks
from tests.tools.coupling_coverage import SETTINGS, covered

MIXED = ("c_cos", "c_sub", "hrci_repr", "hrci_full")
PARAMETERS: dict[str, Any] = {
    "form": "identified",
    "at": "own_layers",
    "k": 3,
    "h_position": -1,
    "r_position": -1,
    "contrast": "refused",
    "direction": "carrier",
    "n_train": 32,
    "n_validation": carriers.N,
    "chat": ChatSetting(),
}
SMALL = {"layers": 4, "h_layer": 1, "r_layer": 3, "fade": 0.5}


@cache
def made(counts: tuple[int, ...] = USUAL, **world: Any) -> tuple[World, CellMeans, CategoryMeans]:
    one = World(**{**SMALL, **world})
    return one, one.cells(counts), one.categories()


def measure(
    name: str, cells: CellMeans, categories: CategoryMeans, trained_on: Any = (), **parameters: Any
) -> Measurement:
    chosen = {**PARAMETERS, **parameters}
    if name == "layer_gap":
        chosen.pop("at")
    asked = []

    def of(need: Any) -> Any:
        asked.append(need)
        return {Cells: cells, Categories: categories}[type(need)]

    found: Measurement = getattr(coupling, name)(chosen, Evidence("ckpt", of, frozenset(trained_on)))
    assert set(asked) <= set(for_coupling(chosen))
    return found


def flags(found: Measurement, effect: str | None = None) -> set[str]:
    return {flag.name for flag in found.flags if effect in (None, flag.effect)}


def stopped(name: str, *evidence: Any, **parameters: Any) -> tuple[str, Any]:
    """Why no bound on a measure is decided, its flags that stop or why there is no value, and the detail."""
    try:
        found = measure(name, *evidence, **parameters)
    except NothingToMeasure as error:
        return str(error), error.detail
    return " ".join(flags(found, "stops")), found.detail


def outcome(found: Measurement, comparator: str, *bound: float) -> str:
    return decide(comparator, bound, found, by="interval").outcome


# --- what is planted comes out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
def test_a_planted_angle_and_its_layers_are_recovered(overlap):
    world, *evidence = made(overlap=overlap, seed=3)
    cos, sub = world.truth(1, 3)
    truths = {"c_cos": cos, "c_sub": sub, "hrci_repr": (cos + sub) / 2}
    truths["hrci_full"] = 0.4 * cos + 0.4 * sub + 0.2 * np.exp(-2 / 4)
    for name, truth in truths.items():
        found = measure(name, *evidence)
        assert found.low <= truth <= found.high
        assert found.estimate == pytest.approx(truth, abs=0.06)
        assert found.low <= found.estimate <= found.high
        assert flags(found, "stops") == set()
        assert found.detail["angles_degrees"] == pytest.approx([np.degrees(np.arccos(np.sqrt(overlap)))] * 3, abs=9)
    gap = measure("layer_gap", *evidence)
    assert gap.estimate == pytest.approx(2 / 3)
    assert (gap.low, gap.high) == pytest.approx((2 / 3, 2 / 3))
    assert gap.detail["distribution"]["resamples"] == 1000


def test_small_cells_bias_the_plain_value_and_not_the_measured_one():
    measured, plain = [], []
    for seed in range(4):
        world, *evidence = made((140, 20, 20, 140), overlap=0.9, seed=seed, strength=0.25, h_layer=2, r_layer=2)
        found = measure("c_cos", *evidence)
        cos, _ = world.truth(2, 2)
        measured.append(found.estimate - cos)
        plain.append(found.detail["plain"]["c_cos"] - cos)
    assert abs(np.mean(measured)) < 0.04
    assert np.mean(plain) < -0.12, "of a true cosine of about 0.9"


def test_every_way_of_reading():
    _, *evidence = made(seed=3)
    found = {
        at: measure("hrci_repr", *evidence, at=at) for at in ("own_layers", "both_at_r", "both_at_h", "every_layer")
    }
    detail = found["own_layers"].detail
    for at in ("own_layers", "both_at_r", "both_at_h"):
        assert found[at].estimate == pytest.approx(detail["readings"][at]["hrci_repr"], abs=1e-5)
    curve = {row["layer"]: row for row in detail["by_layer"]}
    assert curve[0]["hrci_repr"] is None, "a template token's embedding is the same for every prompt"
    assert curve[0]["permuted"] is None
    assert curve[1]["hrci_repr"] == pytest.approx(found["both_at_h"].estimate, abs=1e-5)
    assert curve[3]["hrci_repr"] == pytest.approx(found["both_at_r"].estimate, abs=1e-5)
    assert found["every_layer"].estimate == pytest.approx(np.mean([curve[i]["hrci_repr"] for i in (1, 2, 3)]), abs=1e-5)
    assert found["every_layer"].detail["layers_read"] == 3
    assert detail["readings"]["both_at_r"]["hrci_full"] == pytest.approx(
        0.8 * detail["readings"]["both_at_r"]["hrci_repr"] + 0.2, abs=1e-5
    )
    assert detail["orthogonalised"]["h_perp_r_norm"] ** 2 + detail["readings"]["own_layers"]["c_cos"] ** 2 == (
        pytest.approx(1, abs=1e-4)
    )


def test_opposed_contrasts_are_as_coupled_as_aligned_ones():
    _, cells, categories = made(seed=3)
    swapped = {name: cells.cells[other] for name, other in zip(CELLS, (*CELLS[1::-1], *CELLS[:1:-1]), strict=True)}
    for name in ("c_cos", "hrci_repr"):
        one, other = (measure(name, each, categories) for each in (cells, dataclasses.replace(cells, cells=swapped)))
        assert (other.estimate, other.low, other.high) == pytest.approx((one.estimate, one.low, one.high))


def test_an_interval_holds_both_signs_of_a_cosine_that_may_have_either():
    drawn = np.random.default_rng(0).normal(0.02, 0.1, 1000)
    overlap = np.clip(0.3 + drawn, 0, 1)  # overlap and cosine rise together
    one = SimpleNamespace(signed=0.02, drawn_signed=drawn, sub=0.32, drawn_sub=overlap, plain=(0.0, 0.3))
    low, high = Mix.of("hrci_repr", 0).ends(one, 32)
    assert low < 0.08
    assert high > 0.26
    other = SimpleNamespace(**{**vars(one), "signed": -0.02, "drawn_signed": -drawn})
    assert Mix.of("hrci_repr", 0).ends(other, 32) == pytest.approx((low, high), abs=1e-9)
    assert Mix.of("c_cos", 0).ends(one, 32)[0] == 0


def test_an_interval_beyond_the_range_keeps_a_width():
    drawn = np.random.default_rng(0).normal(1.08, 0.02, 1000)
    one = SimpleNamespace(signed=1.08, drawn_signed=drawn, sub=1.0, drawn_sub=drawn, plain=(0.9, 0.8))
    assert Mix.of("c_cos", 0).ends(one, 32) == (0.9, 1.0)


def test_positions_are_those_that_are_asked_for():
    world, *evidence = made(seed=3)
    for position, index in ((-1, -1), (-2, -2), ("t_inst", 0)):
        found = measure("c_cos", *evidence, at="both_at_h", h_position=position)
        h, r = world.h[index, 1], world.r[-1, 1]
        assert found.low <= abs(h @ r) / np.linalg.norm(h) / np.linalg.norm(r) <= found.high
        assert found.detail["h_position"] == position
        assert found.detail["r_position"] == -1
    with pytest.raises(RequestError, match="h_position is -5, but the template has 4 post-instruction tokens"):
        measure("c_cos", *evidence, h_position=-5)


def test_what_the_record_gets():
    _, *evidence = made(seed=3)
    for name in (*MIXED, "layer_gap"):
        found = measure(name, *evidence)
        assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
        assert (found.n, found.inputs) == (320, {each.name: each.sha256 for each in SETS})
        assert found.detail["cells"] == dict(zip(CELLS, USUAL, strict=True))
        assert found.detail["mixed"] == pytest.approx(100 / 140 - 60 / 180, abs=1e-5)
        assert set(found.detail["null"]) == {"permuted", "harmless", "isotropic"}
        assert found.detail["null"]["harmless"]["n"] >= 20
    assert found.detail["null"]["isotropic"] == pytest.approx(np.sqrt(2 / np.pi / 48), rel=0.02)


def test_prompts_that_were_trained_on_are_a_note():
    _, *evidence = made(seed=3)
    found = measure("c_cos", *evidence, trained_on=[SETS[0].prompts[0].sha256])
    assert "train-eval-overlap" in flags(found, "note")


@settings(max_examples=2)
@given(seed=st.integers(0, 10**6))
def test_turning_the_stream_changes_nothing(seed):
    world, cells, categories = made(seed=3)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((world.width, world.width)))[0]

    def turned(means: BlockMeans) -> BlockMeans:
        return BlockMeans(means.count, (means.mean @ turn).astype(np.float32))

    other = dataclasses.replace(cells, cells={name: turned(one) for name, one in cells.cells.items()})
    topics = tuple(turned(one) for one in categories.means)
    kinds = dataclasses.replace(
        categories, means=topics, means_inst=tuple(turned(one) for one in categories.means_inst)
    )
    one, same = measure("hrci_repr", cells, categories), measure("hrci_repr", other, kinds)
    assert (same.estimate, same.low, same.high) == pytest.approx((one.estimate, one.low, one.high), abs=1e-3)
    assert same.detail["null"]["permuted"]["high"] == pytest.approx(one.detail["null"]["permuted"]["high"], abs=1e-2)


# --- chance ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c_cos", "c_sub", "hrci_repr"])
def test_unrelated_contrasts_are_at_chance_and_certify_no_coupling(name):
    _, *evidence = made(overlap=0.0, seed=5)
    found = measure(name, *evidence)
    assert found.low == 0
    assert found.estimate < found.detail["null"]["harmless"]["high"] < 0.6
    assert "chance-level" in flags(found, "note")
    assert found.detail["chance"] == {"stops": ["at_least", "between"]}
    assert outcome(found, "at_most", 0.6) == "passed", "that they have little in common is what is claimed"
    assert outcome(found, "at_least", 0.3) == "failed"


def test_coupling_above_chance_stops_nothing():
    _, *evidence = made(overlap=0.9, seed=5)
    found = measure("hrci_repr", *evidence)
    assert found.low > max(found.detail["null"][kind]["high"] for kind in ("permuted", "harmless"))
    assert "chance-level" not in flags(found)
    assert found.detail["chance"] == {"stops": []}
    assert found.detail["percentile"] == {"permuted": 1.0, "harmless": 1.0}
    assert outcome(found, "at_least", 0.6) == "passed"


def test_chance_is_what_topics_give_and_not_what_random_directions_give():
    _, cells, categories = made(overlap=0.0, seed=5)
    found = measure("c_cos", cells, categories)
    assert found.detail["null"]["permuted"]["high"] > 1.5 * found.detail["null"]["isotropic"]
    alone = dataclasses.replace(categories, means=categories.means[:6], means_inst=categories.means_inst[:6])
    fewer = measure("c_cos", cells, alone)
    assert fewer.detail["null"]["harmless"] is None, "15 contrasts are no level"
    assert fewer.detail["null"]["permuted"] == found.detail["null"]["permuted"]


def test_permuted_labels_give_directions_of_the_scatter_alone():
    """However strong R is: the mean cos² with H is that of noise with the planted covariance."""
    world, cells, _ = made(overlap=0.9, seed=5, strength=2.0)
    sides = Sides(tuple(cells.cells[name] for name in CELLS), IDENTIFIED["h"], IDENTIFIED["r"], 4, 4, 3)
    h, variance = world.h[-1, 1], world.spread**2
    expected = (h**2 @ variance) / (h @ h) / variance.sum()
    assert np.mean(permuted(sides, 1, 3).signed ** 2) == pytest.approx(expected, rel=0.3)


def test_chance_is_read_where_r_is():
    _, cells, categories = made(seed=3)
    still = {}
    for name, one in cells.cells.items():
        mean = one.mean.copy()
        mean[:, 0] = np.tensordot(one.count / one.count.sum(), mean[:, 0], axes=1)  # nothing scatters at t_inst
        still[name] = BlockMeans(one.count, mean)
    one, other = (
        measure("c_cos", each, categories, h_position="t_inst").detail["null"]["permuted"]["high"]
        for each in (cells, dataclasses.replace(cells, cells=still))
    )
    assert other == pytest.approx(one, rel=0.1)


# --- green lies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "small"), [((100, 60, 19, 120), "19 harmless refused"), ((100, 19, 40, 120), "19 harmful complied")]
)
def test_cells_too_small_to_tell_h_from_r_stop_the_verdict(counts, small):
    _, *evidence = made(counts, overlap=0.9, seed=3)
    found = measure("c_cos", *evidence)
    unflagged = dataclasses.replace(found, flags=())
    assert outcome(unflagged, "between", 0.0, 1.0) == "passed", "the naive number passes"
    assert outcome(found, "between", 0.0, 1.0) == outcome(found, "at_most", 1.0) == "invalid"
    (sentence,) = [flag.sentence for flag in found.flags if flag.name == "unidentified-coupling"]
    assert small in sentence
    enough = tuple(max(20, n) for n in counts)
    assert "unidentified-coupling" not in flags(measure("c_cos", *made(enough, overlap=0.9, seed=3)[1:]))


def test_a_model_that_refuses_exactly_the_harmful_prompts_has_no_r():
    _, *evidence = made((160, 0, 0, 160), seed=3)
    with pytest.raises(NothingToMeasure, match="0 harmful complied, 0 harmless refused") as caught:
        measure("c_cos", *evidence)
    assert str(caught.value).startswith("unidentified-coupling")
    assert caught.value.detail["cells"]["harmful_refused"] == 160


def test_labels_that_mean_nothing_give_no_refusal_direction():
    """Refused and complied dealt out at random: H stays, R is noise, and its cosine with H is none."""
    noise = naive = 0
    for seed in range(4):
        world = World(seed=seed, **{**SMALL, "strength": 0.5})
        world.r = 0 * world.r
        why, detail = stopped("c_cos", world.cells(USUAL), world.categories(), at="both_at_h")
        noise += "null-direction" in why
        naive += detail["plain"]["c_cos"] <= 0.8
    assert naive == 4, "that the two are hardly coupled would be certified by the plain number"
    assert noise >= 3


def test_a_subspace_with_fewer_true_dimensions_than_asked_for_is_stopped():
    _, *evidence = made(axes=(1.0,), overlap=0.5, seed=3)
    whole = measure("c_sub", *evidence, k=1)
    assert flags(whole, "stops") == set()
    assert whole.low <= 0.5 <= whole.high
    assert flags(measure("c_cos", *evidence, at="both_at_h"), "stops") == set(), "the cosine needs no subspace"
    why, _ = stopped("c_sub", *evidence, at="both_at_h")
    assert "noise-dominated" in why


def test_more_dimensions_than_positions_are_none():
    _, *evidence = made(seed=3)
    with pytest.raises(NothingToMeasure, match="no 5-dimensional subspace: the template has 4 positions"):
        measure("c_sub", *evidence, k=5)
    assert measure("c_cos", *evidence, k=5).detail["readings"]["own_layers"]["c_sub"] is None


def test_different_layers_are_a_note_with_every_reading_and_chance():
    _, *evidence = made(seed=3)
    found = measure("c_cos", *evidence)
    (note,) = [flag for flag in found.flags if flag.name == "cross-layer-coupling"]
    assert note.effect == "note"
    readings = found.detail["readings"]
    for text in ("at layer 1", "at layer 3", *(f"{readings[at]['c_cos']:.2f}" for at in readings)):
        assert text in note.sentence
    assert f"{found.detail['null']['harmless']['high']:.2f} (harmless)" in note.sentence
    assert "cross-layer-coupling" not in flags(measure("c_cos", *evidence, at="both_at_r"))


def test_where_most_layers_are_noise_there_is_no_mean_over_them():
    quiet = World(seed=3, **SMALL)
    quiet.r[:, 2:] = 0
    with pytest.raises(NothingToMeasure, match="above the noise at 1 of 4 layers"):
        measure("c_cos", quiet.cells(USUAL), quiet.categories(), at="every_layer")


# --- the papers' form ------------------------------------------------------------------------------------------------


def paper(
    cells: CellMeans | None = None, h_best: int = 4, name: str = "c_cos", **parameters: Any
) -> tuple[Measurement, dict[str, Any]]:
    """The form `paper` on the planted carrier of the carrier tests: position −1, layer 2 of 6, width 16."""
    chosen = {**PARAMETERS, "form": "paper", "k": 2, **parameters}
    base = carriers.made_evidence()
    means = carriers.made_means(32)
    inst = [BlockMeans(one.count, one.mean[:, :1]) for one in (means.harmful, means.harmless)]
    whole = dataclasses.replace(means, harmful_inst=inst[0], harmless_inst=inst[1])
    generator = np.random.default_rng(0)
    gap = np.array([6.0 if layer == h_best else 5.0 for layer in range(7)])[:, None]
    positive, negative = (generator.standard_normal((3, 7, carriers.N)) + shift for shift in (gap, 0.0))
    positive[:, 0], negative[:, 0] = np.nan, np.nan
    projected = Projected(positive, negative, means.tokens, means.prompts)
    topics = tuple(
        blocks(4 + generator.standard_normal((8, 3, 7, carriers.WIDTH)), 4) for _ in range(8)
    )  # fmt: skip
    kinds = CategoryMeans(
        tuple(f"topic-{i}" for i in range(8)),
        tuple(BlockMeans(one.count, one.mean[:, 1:]) for one in topics),
        tuple(BlockMeans(one.count, one.mean[:, :1]) for one in topics),
        means.prompts[1],
    )

    def of(need: Any) -> Any:
        assert need in for_coupling(chosen)
        match need:
            case Cells() if cells is not None:
                return cells
            case Categories():
                return kinds
            case Projections():
                return projected
        found = base.of(need)
        return whole if found is not None and type(found) is type(means) else found

    return getattr(coupling, name)(chosen, Evidence("ckpt", of)), chosen


def four_cells(sizes: tuple[int, ...]) -> CellMeans:
    """Cells of the carrier tests' size: harmful prompts differ along axis 0, refused ones along axes 0 and 1."""
    generator = np.random.default_rng(1)
    found: dict[str, BlockMeans | None] = {}
    for (name, n), (h, r) in zip(zip(CELLS, sizes, strict=True), ((1, 1), (1, -1), (-1, 1), (-1, -1)), strict=True):
        rows = 4 + 0.5 * generator.standard_normal((n, 3, 7, carriers.WIDTH))
        rows[..., 0] += 1.5 * h
        rows[..., 1] += 1.5 * r
        rows[:, :, 0] = 4.0
        found[name] = blocks(rows, 8) if n else None
    means = carriers.made_means(32)
    return CellMeans(found, means.tokens, means.prompts, 0)


def test_the_papers_form_reads_h_where_it_validates_and_r_at_the_carrier():
    found, _ = paper(four_cells((60, 30, 30, 60)))
    assert (found.detail["h_layer"], found.detail["r_layer"], found.detail["r_position"]) == (4, 2, -1)
    # refused: 60 harmful of 90, complied: 30 of 90, so that a third of H is in R, and H is along axis 0
    assert found.detail["mixed"] == pytest.approx(1 / 3)
    assert found.estimate == pytest.approx(1 / np.sqrt(10), abs=0.06)
    assert found.low <= 1 / np.sqrt(10) <= found.high
    assert {"unidentified-coupling", "same-contrast"} & flags(found) == set()
    gap, _ = paper(four_cells((60, 30, 30, 60)), name="layer_gap")
    assert gap.estimate == pytest.approx(2 / 5)
    assert gap.low <= gap.estimate <= gap.high


def test_pooled_refusals_of_harmful_prompts_are_h_under_another_name():
    found, _ = paper(four_cells((60, 1, 2, 60)))
    assert found.estimate > 0.6
    assert found.detail["mixed"] > 0.9
    assert {"unidentified-coupling", "same-contrast"} <= flags(found, "stops")
    naive = dataclasses.replace(found, flags=())
    assert outcome(naive, "at_least", 0.5) == "passed"
    assert outcome(found, "at_least", 0.5) == outcome(found, "at_most", 1.0) == "invalid"


def test_a_carrier_from_the_harmful_contrast_is_h_itself():
    found, _ = paper(four_cells((60, 30, 30, 60)), contrast="harmful", h_best=3)
    assert found.estimate > 0.9
    assert "same-contrast" in flags(found, "stops")
    naive = dataclasses.replace(found, flags=())
    assert outcome(naive, "at_least", 0.8) == "passed"
    assert outcome(found, "at_least", 0.8) == "invalid"


def test_a_model_that_refuses_nothing_has_no_pooled_r():
    with pytest.raises(NothingToMeasure, match="no prompt is refused: there is no contrast"):
        paper(four_cells((0, 60, 0, 60)))


@pytest.mark.parametrize(("tie", "best"), [("auroc", 5), ("all", 2), ("dead", 3), ("outlier", 2), ("still", 4)])
def test_ties_between_layers_go_to_d_prime_and_then_to_the_lowest(tie, best):
    scores = np.linspace(0, 1, 9)
    positive, negative = np.tile(scores + 5, (1, 7, 1)), np.tile(scores, (1, 7, 1))
    positive[0, :2] = scores  # no separation
    if tie == "auroc":
        positive[0, 5] += 1
    if tie == "dead":
        positive[0, 2] = np.nan
    if tie == "outlier":  # the larger d′, but one prompt on the wrong side
        positive[0, 2:] = scores + 1.05
        positive[0, 4], negative[0, 4] = 3 + 0.1 * scores, 0.1 * scores
        negative[0, 4, 0] = 3.02
    if tie == "still":  # a gap without any spread
        positive[0, 4], negative[0, 4] = 1.0, 0.0
    projected = Projected(positive, negative, (), (SETS[0], SETS[2]))
    assert coupling_sources.Validated(projected, 0, 6).best == best


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_needs_of_both_forms_are_hashable_and_the_identified_one_needs_no_search():
    kinds = {
        form: {type(need).__name__ for need in for_coupling({**PARAMETERS, "form": form})}
        for form in ("identified", "paper")
    }
    assert kinds["identified"] == {"Completions", "Cells", "Categories"}
    assert {"CandidateSearch", "Examination", "Projections", "Probe"} <= kinds["paper"]
    asked = for_coupling({**PARAMETERS, "form": "paper"})
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_intervals_hold_the_truth(overlap):
    """A few simulations of tests/tools/coupling_coverage.py, whose full table has 200 a cell."""
    found = covered(SETTINGS[0], overlap, 8, seed=9)
    for name in ("c_cos", "c_sub", "hrci_repr", "angle 1", "angle 2", "angle 3"):
        assert found[name].trusted == 8
        assert found[name].covered >= 7
