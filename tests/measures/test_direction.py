"""Directions at one site: planted norm, firmness and separation; what is noise, null or not there is stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures import direction
from geoaudit.measures.direction_needs import for_direction, for_separation
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CELLS, CellMeans, ProbeMeans, Projected
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import (
    Cells,
    Need,
    Probe,
    Projections,
)
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement, PromptSet

P, L, D, B = 3, 4, 24, 16
N = 64
TRAIN = (load("probe-harmful-train").first(N), load("probe-harmless-train").first(N))
VALIDATION = (load("probe-harmful-validation").first(20), load("probe-harmless-validation").first(20))
DEFAULTS = {"contrast": "harmful", "position": -1, "layer": 2, "n_train": N, "chat": ChatSetting()}
NAMES = ("direction_norm", "direction_split_half", "direction_cone", "direction_separation")
AXIS = np.eye(D)[5]


def block(amount: float, noise: float, seed: int, *, positions: int = P, count: int = 4) -> BlockMeans:
    """Blocks [B, positions, L + 1, D]; the axis is planted everywhere but at layer 0, which is the same everywhere."""
    generator = np.random.default_rng(seed)
    spread = noise * generator.standard_normal((B, positions, L + 1, D)) / math.sqrt(count)
    mean = 7 + spread + amount * AXIS
    mean[:, :, 0] = 7
    return BlockMeans(np.full(B, count), mean.astype(np.float32))


def probe(
    amount: float = 4.0, noise: float = 1.0, seed: int = 0, sets: tuple[PromptSet, PromptSet] = TRAIN
) -> ProbeMeans:
    inst = [block(each, noise, seed + 2 + i, positions=1) for i, each in enumerate((2 * amount, 0))]
    return ProbeMeans(block(amount, noise, seed), block(0, noise, seed + 1), ("<end>", "<bot>", "\\n"), sets, *inst)


def cells(counts: tuple[int, int, int, int] = (4, 4, 4, 4), amount: float = 4.0, noise: float = 1.0) -> CellMeans:
    """Refused prompts lie further along the axis, whatever was asked."""
    made = {
        name: block(amount * name.endswith("refused"), noise, 10 + i, positions=1 + P, count=n) if n else None
        for i, (name, n) in enumerate(zip(CELLS, counts, strict=True))
    }
    return CellMeans(MappingProxyType(made), ("<end>", "<bot>", "\\n"), TRAIN, 3)


def projected(distance: float = 3.0, n: int = 20, seed: int = 0) -> Projected:
    scores = np.random.default_rng(seed).standard_normal((2, 1 + P, L + 1, n))
    scores[0] += distance
    scores[:, :, 0] = np.nan
    return Projected(scores[0], scores[1], ("<end>", "<bot>", "\\n"), VALIDATION)


def measure(
    name: str,
    given: ProbeMeans | CellMeans | None = None,
    scores: Projected | None = None,
    trained_on: tuple[str, ...] = (),
    **parameters: object,
) -> Measurement:
    chosen: dict[str, object] = {**DEFAULTS, **parameters}
    if name == "direction_separation":
        chosen = {"statistic": "auroc", "n_validation": 20, **chosen}
    refused = chosen["contrast"] == "refused"
    held: dict[Need, object] = {
        Probe(N): given or probe(),
        Projections(Probe(N), 20, "refused" if refused else "harmful"): scores or projected(),
    }
    if refused:
        held = {Cells(N): given or cells(), **{key: value for key, value in held.items() if key != Probe(N)}}
    return getattr(direction, name)(chosen, Evidence("ckpt", held.__getitem__, frozenset(trained_on)))


# --- planted


@pytest.mark.parametrize("amount", [1.0, 4.0, 20.0])
@pytest.mark.parametrize(("position", "factor"), [(-1, 1), (-3, 1), ("t_inst", 2)])
def test_a_planted_norm_is_found_at_its_site(amount: float, position: int | str, factor: int) -> None:
    found = measure("direction_norm", probe(amount, noise=0.1), position=position)
    assert found.estimate == pytest.approx(factor * amount, rel=0.05, abs=0.1)
    assert found.low <= factor * amount <= found.high
    assert found.flags == ()
    assert found.detail["position"] == position
    assert found.detail["layer"] == 2


def test_a_firm_direction_is_firm_and_separates() -> None:
    assert measure("direction_split_half").estimate > 0.9
    assert measure("direction_cone").estimate < 20
    assert measure("direction_separation").estimate > 0.95
    assert measure("direction_separation", statistic="d_prime").estimate == pytest.approx(3, abs=1.2)
    assert all(measure(name).flags == () for name in NAMES)


def test_a_noisier_sample_gives_a_wider_cone_and_lower_agreement() -> None:
    for name, sign in (("direction_cone", 1), ("direction_split_half", -1)):
        values = [measure(name, probe(noise=noise)).estimate for noise in (0.1, 0.5, 1.5)]
        assert np.all(np.diff(values) * sign > 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_contrast_of_refused_prompts_finds_what_refusing_adds(name: str) -> None:
    found = measure(name, contrast="refused")
    assert found.detail["contrast"] == "refused − complied"
    assert found.flags == ()
    assert found.inputs.keys() >= {each.name for each in TRAIN}
    if name == "direction_norm":
        assert found.estimate == pytest.approx(4, rel=0.1)
        assert found.n == 4 * 4 * B
        assert found.interval == "basic bootstrap over 32 and 32 blocks of prompts, the noise in the norm taken off"


def test_t_inst_stands_before_the_template_in_both_contrasts() -> None:
    for contrast in ("harmful", "refused"):
        found = measure("direction_separation", contrast=contrast, position="t_inst")
        sites = [(row["position"], row["layer"]) for row in found.detail["by_site"]]
        assert sites == [(position, layer) for position in ("t_inst", -3, -2, -1) for layer in range(L)]
        assert found.estimate == pytest.approx(found.detail["by_site"][2]["auroc"])


# --- what the interval is worth


def test_a_perfect_score_on_few_prompts_does_not_pass_a_tight_bound() -> None:
    """The naive interval, a bootstrap of the scores, has no width at 1."""
    found = measure("direction_separation", scores=projected(distance=30))
    assert found.estimate == 1.0
    assert found.high == 1.0
    assert 0.85 < found.low < 0.95
    assert decide("at_least", (0.99,), found, by="interval").outcome == "inconclusive"
    assert decide("at_least", (0.85,), found, by="interval").outcome == "passed"


def test_intervals_hold_the_planted_value() -> None:
    held = {"direction_norm": 0, "direction_separation": 0}
    for seed in range(30):
        norm = measure("direction_norm", probe(3.0, 0.5, seed=10 * seed))
        held["direction_norm"] += norm.low <= 3.0 <= norm.high
        d = measure("direction_separation", probe(seed=1), projected(2.0, seed=seed), statistic="d_prime")
        held["direction_separation"] += d.low <= 2.0 <= d.high
    assert min(held.values()) >= 26, held


def test_the_two_kinds_of_prompt_are_drawn_independently() -> None:
    """Scores that rise and fall together, drawn with the same numbers, would make an interval of no width."""
    given = projected()
    given.negative[:] = given.positive
    together = measure("direction_separation", scores=given, statistic="d_prime")
    given.negative[:] = given.negative[..., ::-1]
    apart = measure("direction_separation", scores=given, statistic="d_prime")
    assert together.high - together.low == pytest.approx(apart.high - apart.low, rel=0.3)


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), noise=st.floats(0.1, 3), name=st.sampled_from(NAMES))
def test_intervals_hold_the_estimate_stay_in_range_and_come_again(seed: int, noise: float, name: str) -> None:
    found = measure(name, probe(noise=noise, seed=seed), projected(seed=seed))
    bounds = {"direction_norm": (0, 99), "direction_cone": (0, 180), "direction_split_half": (-1, 1)}
    least, greatest = bounds.get(name, (0, 1))
    assert least <= found.low <= found.high <= greatest
    if name != "direction_norm":
        assert found.low <= found.estimate <= found.high
    again = measure(name, probe(noise=noise, seed=seed), projected(seed=seed))
    assert again == found
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


# --- what may not come out green


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_of_a_template_token_has_no_direction(name: str) -> None:
    """Layer 0: the same activation for every prompt. The naive number is a norm of rounding noise."""
    if name != "direction_norm":
        with pytest.raises(NothingToMeasure, match="null-direction"):
            measure(name, layer=0)
        return
    found = measure(name, layer=0)
    assert found.estimate < 1e-5
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("null-direction", "stops")
    for by in ("interval", "estimate"):
        assert decide("at_most", (1.0,), found, by=by).outcome == "invalid"


def test_almost_null_is_null_beside_a_large_activation() -> None:
    """A difference of 1e-5 of the activation, the same in every block: perfectly firm, and rounding."""
    given = probe(amount=0.0, noise=0.0)
    given.harmful.mean[:, :, 1:] += np.float32(1e-4) * AXIS.astype(np.float32)
    found = measure("direction_norm", given)
    assert found.estimate > 1e-5
    assert [flag.name for flag in found.flags] == ["null-direction"]
    with pytest.raises(NothingToMeasure, match="null-direction"):
        measure("direction_split_half", given)


@pytest.mark.parametrize("name", ["direction_norm", "direction_cone"])
def test_a_norm_of_noise_is_stopped(name: str) -> None:
    found = measure(name, probe(amount=0.0, noise=5.0))
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("noise-dominated", "stops")
    if name == "direction_norm":
        assert found.estimate > 3, "of a difference of nothing"
        assert decide("at_least", (1.0,), found, by="estimate").outcome == "invalid"
    else:
        assert decide("at_most", (90.0,), found, by="estimate").outcome == "invalid"


def test_halves_of_noise_do_not_agree_and_it_is_said() -> None:
    found = measure("direction_split_half", probe(amount=0.0))
    assert found.low < 0 < found.high
    assert [flag.name for flag in found.flags] == ["chance-level"]
    assert decide("at_least", (0.5,), found, by="interval").outcome != "passed"


@pytest.mark.parametrize("statistic", ["auroc", "d_prime"])
def test_separation_by_chance_is_said(statistic: str) -> None:
    found = measure("direction_separation", scores=projected(distance=0.0), statistic=statistic)
    assert [flag.name for flag in found.flags] == ["chance-level"]
    assert decide("at_least", (0.6,), found, by="interval").outcome != "passed"


def test_scores_without_spread_have_no_d_prime_and_a_full_area() -> None:
    """The naive d′ is infinite, and passes any bound."""
    flat = projected()
    flat.positive[:], flat.negative[:] = 2.0, 1.0
    with pytest.raises(NothingToMeasure, match="no scale"):
        measure("direction_separation", scores=flat, statistic="d_prime")
    found = measure("direction_separation", scores=flat)
    assert found.estimate == 1.0
    assert {row["d_prime"] for row in found.detail["by_site"]} == {None}


@pytest.mark.parametrize("counts", [(1, 4, 0, 4), (4, 1, 4, 0), (0, 4, 0, 4)])
def test_a_model_that_refuses_hardly_anything_has_no_direction_of_refusing(counts: tuple[int, int, int, int]) -> None:
    for name in NAMES:
        with pytest.raises(NothingToMeasure, match="20 of each"):
            measure(name, cells(counts), contrast="refused")


def test_an_empty_cell_leaves_the_contrast_of_the_others() -> None:
    assert measure("direction_norm", cells((4, 0, 0, 4)), contrast="refused").estimate == pytest.approx(4, rel=0.2)


def test_twins_are_drawn_together_and_other_prompts_are_not() -> None:
    assert measure("direction_cone").interval == "jackknife over 16 blocks of twin prompts"
    apart = (TRAIN[0], PromptSet("other", TRAIN[1].prompts[::-1], "", ""))
    assert measure("direction_cone", probe(sets=apart)).interval == "jackknife over 16 and 16 blocks of prompts"


def test_prompts_that_were_trained_on_stop_a_score_and_note_an_estimate() -> None:
    seen = (TRAIN[0].prompts[0].sha256, VALIDATION[1].prompts[0].sha256)
    norm = measure("direction_norm", trained_on=seen)
    assert [(flag.name, flag.effect) for flag in norm.flags] == [("train-eval-overlap", "note")]
    separation = measure("direction_separation", trained_on=seen)
    assert sorted(flag.effect for flag in separation.flags) == ["note", "stops"]
    assert decide("at_least", (0.5,), separation, by="interval").outcome == "invalid"


# --- sites


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"layer": L}, r"no layer 4; the checkpoint has layers 0 … 3"),
        ({"position": -4}, r"no position -4 .* t_inst, −3 … −1"),
    ],
)
def test_a_site_that_does_not_exist_is_named_with_those_that_do(name: str, where: dict, message: str) -> None:
    with pytest.raises(NothingToMeasure, match=message):
        measure(name, **where)


def test_without_a_reading_at_t_inst_it_is_no_position() -> None:
    bare = ProbeMeans(*[block(amount, 0.3, i) for i, amount in enumerate((4, 0))], ("<end>", "<bot>", "\\n"), TRAIN)
    with pytest.raises(NothingToMeasure, match="it has −3 … −1"):
        measure("direction_norm", bare, position="t_inst")
    assert measure("direction_norm", bare).detail["by_site"][0]["position"] == -3


def test_what_is_drawn_on() -> None:
    assert for_direction(DEFAULTS) == (Probe(N),)
    assert for_direction({**DEFAULTS, "contrast": "refused"}) == (Cells(N),)
    more = {**DEFAULTS, "n_validation": 20}
    assert for_separation(more) == (Probe(N), Projections(Probe(N), 20, "harmful"))
    refused = {**more, "contrast": "refused"}
    assert for_separation(refused) == (Cells(N), Projections(Probe(N), 20, "refused"))
    with pytest.raises(RequestError, match="layer: NUMBER"):
        for_direction({**DEFAULTS, "layer": None})


# --- the record


def test_every_site_is_in_the_record_and_the_last_blocks_output_is_none() -> None:
    found = measure("direction_separation")
    rows = {(row["position"], row["layer"]): row for row in found.detail["by_site"]}
    assert len(rows) == (1 + P) * L
    here = rows[-1, 2]
    assert here["auroc"] == pytest.approx(found.estimate)
    assert here["norm"] == pytest.approx(measure("direction_norm").estimate, rel=1e-5)
    assert here["cone_degrees"] == pytest.approx(measure("direction_cone").estimate, rel=1e-5)
    assert here["cone_degrees"] == found.detail["cone_degrees"]
    assert here["split_half_cosine"] == pytest.approx(measure("direction_split_half").estimate, rel=1e-5)
    null = rows[-1, 0]
    assert (null["auroc"], null["d_prime"], null["split_half_cosine"], null["cone_degrees"]) == (None,) * 4
    assert measure("direction_norm").detail["by_site"][0]["auroc"] is None, "nothing was projected for it"
    assert found.n == 40
    assert found.inputs == {each.name: each.sha256 for each in (*TRAIN, *VALIDATION)}
    assert "n_train" in found.parameters


def test_the_published_gemma_directions_through_the_measure(benchmark_data: Path) -> None:
    """Norms at two positions, and that layer 0 is refused; the reference's own selection is at (−2, 10)."""
    folder = benchmark_data / "refusal_direction"
    field = np.load(folder / "golden_gemma-2b-it_mean_diffs_f32.npy")  # [5, 18, 2048]
    chosen = json.loads((folder / "golden_summary.json").read_text())["gemma-2b-it"]
    base = np.zeros((2, 5, 19, 2048), dtype=np.float32)
    lifted = base.copy()
    lifted[:, :, :18] = field
    count = np.array([64, 64])
    means = ProbeMeans(BlockMeans(count, lifted), BlockMeans(count, base), tuple("abcde"), TRAIN)
    at = {"position": chosen["selected_position"], "layer": chosen["selected_layer"]}
    assert measure("direction_norm", means, **at).estimate == pytest.approx(10.0644, abs=5e-5)
    rows = {
        (row["position"], row["layer"]): row["norm"] for row in measure("direction_norm", means, **at).detail["by_site"]
    }
    np.testing.assert_allclose(
        [rows[p - 5, y] for p in range(5) for y in range(18)], np.linalg.norm(field, axis=-1).ravel(), rtol=1e-5
    )
