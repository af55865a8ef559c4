"""Subspaces that have turned by a known angle, or not at all; and what chance, noise and unlike models make of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures import drift
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import ProbeMeans
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Probe
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.measures.two import AGAINST, beside, chat

P, L, D, B = 2, 4, 20, 16
SETS = (load("probe-harmful-train").first(64), load("probe-harmless-train").first(64))
DEFAULTS = {"against": AGAINST, "k": 3, "n_train": 64, "chat": ChatSetting()}
ROWS = [(p, layer) for p in range(P) for layer in range(1, L)]
SIGMA = np.array([9.0, 3.0, 1.0])


def field(*angles: float, axes: np.ndarray | None = None) -> np.ndarray:
    """Differences [P, L + 1, D] with singular values `SIGMA`, their axes turned by so many degrees out of the first."""
    basis = np.eye(D) if axes is None else axes
    left = np.linalg.qr(np.random.default_rng(3).standard_normal((len(ROWS), 3)))[0]
    turned = np.zeros((3, D))
    for index, angle in enumerate(angles):
        turned[index] = math.cos(math.radians(angle)) * basis[index] + math.sin(math.radians(angle)) * basis[3 + index]
    out = np.zeros((P, L + 1, D))
    for row, (p, layer) in zip(left @ np.diag(SIGMA) @ turned, ROWS, strict=True):
        out[p, layer] = row
    return out


def means(difference: np.ndarray, noise: float = 0.02, seed: int = 1) -> ProbeMeans:
    generator = np.random.default_rng(seed)
    common = 3 + generator.standard_normal(difference.shape)
    spread = noise * generator.standard_normal((2, B, *difference.shape))
    spread[:, :, :, 0] = 0  # a template token's embedding does not depend on the prompt
    count = np.full(B, 4)
    one, other = (
        BlockMeans(count, (common + shift + each).astype(np.float32))
        for shift, each in zip((difference, 0), spread, strict=True)
    )
    return ProbeMeans(one, other, ("<end>", "<bot>"), SETS)


def evidence(given: ProbeMeans, trained_on=()) -> Evidence:
    def of(need):
        assert need == Probe(64)
        return given

    return Evidence("one", of, frozenset(trained_on))


def measure(name: str, late: ProbeMeans, early: ProbeMeans, **parameters) -> Measurement:
    own = {"which": "largest"} if name == "principal_angle" else {}
    return getattr(drift, name)({**DEFAULTS, **own, **parameters}, beside(evidence(late), evidence(early)))


NAMES = ("principal_angle", "energy_weighted_angle", "projector_distance")


@pytest.mark.parametrize(("which", "angle"), [("first", 2.0), ("second", 10.0), ("third", 40.0), ("largest", 40.0)])
def test_planted_angles_are_found(which, angle):
    found = measure("principal_angle", means(field(2, 10, 40)), means(field(0, 0, 0)), which=which)
    assert found.estimate == pytest.approx(angle, abs=0.5)
    assert found.low <= angle <= found.high
    assert found.high - found.low < 2
    assert found.detail["angles_degrees"] == pytest.approx([2, 10, 40], abs=0.5)
    assert found.detail["energies_here"] == pytest.approx(SIGMA**2 / (SIGMA**2).sum(), abs=0.01)
    assert (found.n, found.unit) == (128, "degrees")


def test_weak_axes_count_for_the_energy_that_they_hold():
    found = measure("energy_weighted_angle", means(field(2, 10, 40)), means(field(0, 0, 0)))
    shares = SIGMA**2 / (SIGMA**2).sum()
    assert found.estimate == pytest.approx(shares @ [2, 10, 40], abs=0.5)
    assert found.detail["energy_weighted_angle"] == pytest.approx(found.estimate, rel=1e-5)


def test_projector_distance_is_the_root_mean_square_of_the_sines():
    found = measure("projector_distance", means(field(2, 10, 40)), means(field(0, 0, 0)))
    expected = math.sqrt(np.mean(np.sin(np.radians([2, 10, 40])) ** 2))
    assert found.estimate == pytest.approx(expected, abs=0.005)
    assert found.detail["projector_distance"] == pytest.approx(found.estimate, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_beside_itself_has_not_drifted(name):
    """Noise and all: what redrawing prompts does to both alike is no drift."""
    same = means(field(0, 0, 0), noise=0.5)
    found = measure(name, same, same)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-5)
    assert decide("at_most", (1e-3,), found, by="interval").outcome == "passed"


@settings(max_examples=10)
@given(st.floats(0, 60), st.sampled_from(NAMES))
def test_it_is_as_far_there_as_back(angle, name):
    late, early = means(field(1, 5, angle), seed=2), means(field(0, 0, 0), seed=3)
    way, back = measure(name, late, early), measure(name, early, late)
    assert way.estimate == pytest.approx(back.estimate, abs=1e-6)
    assert (way.low, way.high) == pytest.approx((back.low, back.high), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_unrelated_subspaces_are_at_chance_level(name):
    """`chance-level`: a generous bound would let anything pass."""
    axes = np.linalg.qr(np.random.default_rng(11).standard_normal((D, D)))[0]
    found = measure(name, means(field(0, 0, 0), 0.1), means(field(0, 0, 0, axes=axes), 0.1, seed=5))
    assert [flag.name for flag in found.flags] == ["chance-level"]
    assert found.estimate >= found.detail["null"]["permuted"]["low"]
    assert found.detail["chance"]["stops"] == ["at_most", "between", "equals"]
    most = 1.0 if name == "projector_distance" else 90.0
    assert decide("at_most", (most,), found, by="interval").outcome == "invalid", "the naive number passes"
    assert decide("at_least", (0.1,), found, by="interval").outcome == "passed", "that they are apart may still be said"
    near = measure(name, means(field(1, 1, 1), 0.1), means(field(0, 0, 0), 0.1, seed=5))
    assert near.flags == ()
    assert near.detail["chance"]["stops"] == []
    assert near.estimate < near.detail["null"]["permuted"]["low"]


def noisy(late: tuple[float, ...], noise: float = 0.4) -> tuple[ProbeMeans, ProbeMeans]:
    return means(field(*late), noise, seed=2), means(field(0, 0, 0), noise, seed=3)


@pytest.mark.parametrize("name", NAMES)
def test_noise_that_looks_like_drift_is_not_taken_for_it(name):
    """Nothing has turned, and the prompts' deviations are others in each: the value is large, the interval holds 0."""
    found = measure(name, *noisy((0, 0, 0)))
    free = found.detail["held_out"]["estimate"]
    assert found.estimate > 3 * free
    assert found.low == pytest.approx(0, abs=1e-6)
    assert found.high >= found.estimate
    assert "without sampling noise" in found.interval
    bound = found.estimate / 2
    assert decide("at_least", (bound,), found, by="estimate").outcome == "passed", "the naive number passes"
    assert decide("at_least", (bound,), found, by="interval").outcome == "inconclusive"
    assert decide("at_least", (bound,), measure(name, *noisy((60, 70, 80))), by="interval").outcome == "passed"


@pytest.mark.parametrize("ends", [(1.0, 2.0), (60.0, 70.0)])
def test_an_interval_reaches_to_the_value(ends, monkeypatch):
    """The value holds noise, the interval does not: a bound between the two is met by neither."""
    monkeypatch.setattr(drift.Freed, "ends", lambda self, at: ends)
    found = measure("principal_angle", means(field(0, 0, 40)), means(field(0, 0, 0)))
    assert (found.low, found.high) == (min(ends[0], found.estimate), max(ends[1], found.estimate))
    assert found.interval.endswith("widened to the value")


@pytest.mark.parametrize("by", ["interval", "estimate"])
def test_an_axis_of_noise_passes_no_bound(by):
    """`noise-dominated`: two of three axes are real; what the third does is the prompts' doing."""
    flat = SIGMA.copy()
    SIGMA[2] = 0.0
    try:
        found = measure("principal_angle", *noisy((0, 0, 0)))
        real = measure("principal_angle", *noisy((0, 0, 0)), k=2)
    finally:
        SIGMA[:] = flat
    (flag,) = [flag for flag in found.flags if flag.name == "noise-dominated"]
    assert flag.effect == "stops"
    assert "dimension 3" in flag.sentence
    assert found.detail["held_out"] == {"estimate": None}
    assert decide("at_least", (5.0,), replace(found, flags=(), detail={}), by="estimate").outcome == "passed"
    assert decide("at_least", (5.0,), found, by=by).outcome == "invalid"
    assert "noise-dominated" not in [flag.name for flag in real.flags]


def test_a_site_that_is_null_in_one_of_them_is_left_out_of_both():
    one, other = field(0, 0, 0), field(0, 0, 0)
    other[1, 2] = 0
    found = measure("principal_angle", means(one, 0), means(other, 0), k=2)
    assert found.detail["sites"] == len(ROWS) - 1
    assert found.estimate == pytest.approx(0, abs=0.01)


def test_the_output_of_the_last_block_is_no_site():
    one, other = field(0, 0, 0), field(0, 0, 0)
    one[:, -1] = 100 * np.eye(D)[-P:]
    found = measure("principal_angle", means(one), means(other))
    assert found.detail["sites"] == len(ROWS)
    assert found.estimate == pytest.approx(0, abs=2)


def test_without_spread_among_prompts_there_is_no_null_level_and_no_flag():
    found = measure("principal_angle", means(field(0, 0, 3), 0), means(field(0, 0, 0), 0))
    assert found.estimate == pytest.approx(3, abs=0.01)
    assert found.detail["null"] == {"permuted": None}
    assert found.flags == ()


def test_an_angle_that_there_is_not():
    pair = means(field(0, 0, 0)), means(field(0, 0, 0))
    with pytest.raises(NothingToMeasure, match="2 dimensions have no third principal angle"):
        measure("principal_angle", *pair, k=2, which="third")
    with pytest.raises(NothingToMeasure, match="16-dimensional"):
        measure("projector_distance", *pair, k=16)


# --- what cannot be compared -----------------------------------------------------------------------------------------


def unlike(late: ProbeMeans, early: ProbeMeans, **more) -> str:
    pair = beside(evidence(late), evidence(early), **more)
    with pytest.raises(NothingToMeasure) as caught:
        drift.projector_distance(DEFAULTS, pair)
    return str(caught.value)


def test_other_widths_depths_tokenizers_templates_and_prompts_are_said():
    plain = means(field(0, 0, 0))
    narrow = ProbeMeans(*(cut(each, np.s_[..., :12]) for each in (plain.harmful, plain.harmless)), plain.tokens, SETS)
    flat = ProbeMeans(*(cut(each, np.s_[:, :, :4]) for each in (plain.harmful, plain.harmless)), plain.tokens, SETS)
    assert "residual streams are 20 and 12 wide" in unlike(plain, narrow)
    assert "4 and 3 layers" in unlike(plain, flat)
    assert "tokenizers differ" in unlike(plain, plain, chats=(chat(), chat(words="e")))
    assert "chat templates differ" in unlike(plain, plain, chats=(chat("a"), chat("b")))
    others = (load("probe-harmful-train").first(60), SETS[1])
    assert "different prompts" in unlike(plain, ProbeMeans(plain.harmful, plain.harmless, plain.tokens, others))


def cut(means: BlockMeans, at) -> BlockMeans:
    return BlockMeans(means.count, means.mean[at])


def test_prompts_that_one_of_the_two_was_trained_on_are_said_of_the_right_one():
    plain = means(field(0, 0, 0))
    seen = [prompt.sha256 for prompt in SETS[0].prompts[:3]]
    found = drift.projector_distance(DEFAULTS, beside(evidence(plain), evidence(plain, seen)))
    (flag,) = found.flags
    assert (flag.name, flag.effect) == ("train-eval-overlap", "note")
    assert flag.sentence.startswith("of early: 3 of 128")


def test_the_record_names_the_other_and_holds_json():
    found = measure("principal_angle", means(field(1, 2, 3)), means(field(0, 0, 0)))
    assert found.checkpoint == "late"
    assert (found.detail["reference"], found.detail["against"]) == ("early", "reference")
    assert found.parameters == {"against": "reference", "k": 3, "n_train": 64, "which": "largest"}
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
