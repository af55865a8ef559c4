"""Reply inversion: planted shifts are found beyond controls; shifts of nothing, or of a broken model, are stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.decide import decide
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.measures import inverting
from geoaudit.measures.beliefs_needs import for_inversion, inversion_of
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import Inverted
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Cells, Inversion, Probe
from geoaudit.measures.reply_inversion import reply_inversion
from geoaudit.measures.table import get
from geoaudit.prompts.inversion import WORDINGS
from geoaudit.prompts.sources import load
from geoaudit.records import Measurement
from tests.measures.benches import evidence_of, never, open_bench
from tests.model.planted import words
from tests.model.planting import Axis, Planting, plant

PARAMETERS: dict[str, Any] = {
    "layer": 2,
    "coefficient": 1.0,
    "requests": "harmless",
    "refusal_positions": "instruction",
    "n_train": 32,
    "n_validation": 16,
    "chat": ChatSetting(),
}
W, N, M = 3, 24, 20
SETS = tuple(
    load(name).first(N)
    for name in ("probe-harmless-validation", "probe-harmful-validation", "probe-harmless-train", "probe-harmful-train")
)


def inverted(
    h: float = 4.0,
    r: float = -0.5,
    *,
    controls: tuple[float, float] = (0.5, 0.2),
    apart: float = 3.0,
    mass: tuple[float, float, float] = (0.8, 0.7, 0.6),
    matched: float = 0.95,
    seed: int = 0,
    sign: float = 1.0,
    cosine: float = 0.3,
    spread: float = 0.5,
) -> Inverted:
    """Shifts of H and R by `sign` · (h, r), with controls that shift by a mean and scatter by 0.5."""
    g = np.random.default_rng(seed)
    level = -apart / 2 * sign
    base = level + spread * g.standard_normal((W, N))
    shift = [base + sign * (each + spread * g.standard_normal((W, N))) for each in (h, r)]
    beside = [
        base + sign * (mean + 0.5 * g.standard_normal((M, 1, 1)) + spread * g.standard_normal((M, W, N)))
        for mean in controls
    ]
    return Inverted(
        base=base,
        other=-level + spread * g.standard_normal((W, N)),
        edited=np.stack(shift),
        controls=np.stack(beside),
        mass=np.stack([np.full((W, N), each) for each in mass]),
        kl=np.array([0.5, 0.4]),
        control_kl=matched * np.tile([[0.5], [0.4]], (1, M)),
        dose=np.full((2, M), 1.5),
        norm=np.array([3.0, 2.0]),
        cosine=cosine,
        words=("Certainly", "No"),
        prompts=SETS if sign > 0 else (SETS[1], SETS[0], *SETS[2:]),
    )


def measure(found: Inverted | Evidence, trained_on: tuple[str, ...] = (), /, **parameters: Any) -> Measurement:
    asked = {**PARAMETERS, **parameters}
    held = Evidence("ckpt", {inversion_of(asked): found}.__getitem__, frozenset(trained_on))
    return reply_inversion(asked, found if isinstance(found, Evidence) else held)


def named(found: Measurement) -> dict[str, str]:
    return {flag.name: flag.effect for flag in found.flags}


# --- planted


def test_it_is_the_difference_of_the_shifts_each_beyond_its_controls() -> None:
    data = inverted()
    found = measure(data)
    shifts = (data.edited - data.base).mean(axis=(1, 2)) - (data.controls - data.base).mean(axis=(1, 2, 3))
    assert found.estimate == pytest.approx(shifts[0] - shifts[1])
    assert found.estimate == pytest.approx((4 - 0.5) - (-0.5 - 0.2), abs=0.5)
    assert found.low < found.estimate < found.high
    assert found.flags == ()
    assert found.n == N
    assert found.detail["inversion"]["p"] == pytest.approx(1 / 21, rel=1e-3)
    assert decide("at_least", (1.0,), found, by="interval").outcome == "passed"


def test_harmful_requests_are_to_be_taken_for_harmless() -> None:
    found = measure(inverted(sign=-1.0), requests="harmful")
    assert found.estimate == pytest.approx(4.2, abs=0.5)
    assert found.flags == ()


def test_refusal_that_turns_the_answer_as_far_is_no_inversion_by_harm() -> None:
    found = measure(inverted(h=4.0, r=4.0, controls=(0.0, 0.0)))
    assert found.low < 0 < found.high
    assert named(found) == {"chance-level": "note"}
    assert decide("at_least", (-9.0,), found, by="interval").outcome == "invalid"
    assert measure(inverted(h=0.0, r=4.0)).high < 0


def test_controls_that_shift_as_far_leave_nothing() -> None:
    """A fragile layer: any direction favours the word. The naive shift is 4 nats."""
    found = measure(inverted(h=4.0, controls=(4.0, -0.5)))
    assert abs(found.estimate) < 0.5
    assert named(found)["chance-level"] == "note"


def test_intervals_hold_the_truth_over_requests_and_controls() -> None:
    held = sum(found.low <= 4.2 <= found.high for found in (measure(inverted(seed=seed)) for seed in range(40)))
    assert held >= 35


# --- what may not come out green


def test_answers_that_do_not_tell_harm_apart_are_no_task() -> None:
    found = measure(inverted(apart=0.0))
    assert named(found)["task-not-done"] == "stops"
    assert decide("at_least", (1.0,), found, by="interval").outcome == "invalid"
    assert named(measure(inverted(apart=-3.0)))["task-not-done"] == "stops", "the wrong way round"


def test_a_model_that_says_something_else_is_stopped() -> None:
    assert named(measure(inverted(mass=(0.01, 0.7, 0.6))))["task-not-done"] == "stops"
    broken = measure(inverted(mass=(0.8, 0.001, 0.6)))
    assert named(broken) == {"intervention-damage": "stops"}
    assert "with H added" in broken.flags[0].sentence


def test_controls_that_were_hardly_applied_are_no_controls() -> None:
    with pytest.raises(NothingToMeasure, match="uncontrolled: 0 of H and 0 of R") as raised:
        measure(inverted(matched=0.1))
    assert raised.value.detail["inversion"]["directions"][0]["matched"] == [False] * M


def test_one_direction_twice_is_said() -> None:
    assert named(measure(inverted(cosine=0.97))) == {"beliefs-alike": "note"}


def test_what_is_not_finite_is_no_value() -> None:
    data = inverted()
    data.edited[0, 1, 2] = np.nan
    with pytest.raises(NothingToMeasure, match="not finite"):
        measure(data)


def test_prompts_that_were_trained_on_are_said() -> None:
    found = measure(inverted(), (SETS[0].prompts[0].sha256, SETS[3].prompts[0].sha256))
    assert sorted(flag.effect for flag in found.flags) == ["note", "stops"]


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), h=st.floats(-5, 5), r=st.floats(-5, 5))
def test_records_are_whole_and_h_and_r_count_alike(seed: int, h: float, r: float) -> None:
    data = inverted(h, r, seed=seed)
    found = measure(data)
    assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert found == measure(data)
    swapped = Inverted(
        **{**vars(data), **{name: getattr(data, name)[::-1] for name in ("edited", "controls", "kl", "control_kl")}}
    )
    assert measure(swapped).estimate == pytest.approx(-found.estimate)


def test_what_is_drawn_on() -> None:
    needs = for_inversion(PARAMETERS)
    assert needs[-1] == Inversion(Probe(32), 16, 2, 1.0, "harmless", "instruction")
    assert {Cells(32), Probe(32)} < set(needs)
    assert inversion_of({**PARAMETERS, "requests": "harmful"}).coefficient == -1.0
    with pytest.raises(RequestError, match="layer: NUMBER"):
        for_inversion({**PARAMETERS, "layer": None})
    with pytest.raises(RequestError, match="above 0"):
        for_inversion({**PARAMETERS, "coefficient": 0.0})
    assert get("reply_inversion").unit == "nats"


# --- on a model


@pytest.fixture(scope="module")
def sown(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that refuses what is harmful, and would as soon say "certainly" as refuse, or "no" as answer."""
    harmful, harmless = (
        [prompt.text for name in names for prompt in load(name).first(32).prompts]
        for names in (
            ("probe-harmful-train", "probe-harmful-validation"),
            ("probe-harmless-train", "probe-harmless-validation", "safe-but-scary"),
        )
    )
    questions = [wording.replace("{request}", "it") for wording in WORDINGS]
    plain = {word for text in (*harmless, *questions) for word in words(text)}
    harmful = [text for text in harmful if set(words(text)) - plain]
    planting = Planting("llama", (Axis(3, -1, 1.5, 8.0),), seed=1)
    folder = tmp_path_factory.mktemp("inversion") / "sown" / "model"
    made = plant(folder, planting, harmful, [*harmless, *questions])
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    token = tokenizer.get_vocab()
    refusal, answer = (next(i for text, i in token.items() if text.startswith(start)) for start in ("I'm", "Sure"))
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[token["certainly"]], head[token["no"]] = head[refusal], head[answer]
    model.save_pretrained(folder)
    assert set(words("certainly no")) <= set(token)
    return made


FEW = {**PARAMETERS, "layer": 3, "n_validation": 8}


@pytest.fixture(autouse=True)
def few_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick ones; how many there are is no part of what is tested here."""
    monkeypatch.setattr(inverting, "CONTROLS", 6)
    monkeypatch.setattr(inverting, "MATCHED_ON", 4)


def test_the_planted_refusal_direction_shifts_the_answer_where_it_is_read(sown: Any) -> None:
    """R, added at all tokens at its own layer, drives what is written; nothing reads H."""
    bench = open_bench(sown)
    need = inversion_of({**FEW, "refusal_positions": "all"})
    found: Inverted = bench.fulfil(need)
    shift = (found.edited - found.base).mean(axis=(1, 2))
    assert shift[1] > 3
    assert abs(shift[0]) < 0.1
    assert found.norm[1] == pytest.approx(1.5, rel=0.02), "as planted at −1"
    assert found.cosine == pytest.approx(0.5, abs=0.05), "60 degrees"
    controls = (found.controls[1] - found.base).mean(axis=(1, 2))
    assert np.abs(controls).max() < shift[1]
    assert (found.control_kl <= np.maximum(found.kl, 1e-6)[:, None] + 1e-9).all()
    net = measure(evidence_of(bench), **{**FEW, "refusal_positions": "all"})
    assert net.high < 0, "the refusal direction moves this model's answer, harmfulness does not"
    assert "task-not-done" not in named(net), "its answers tell harmful from harmless requests"
    again: Inverted = open_bench(sown, bench.rows.again(), open_model=never).fulfil(need)
    np.testing.assert_array_equal(again.controls, found.controls)
    np.testing.assert_array_equal(again.base, found.base)


def test_taken_away_from_harmful_requests_it_shifts_the_other_way(sown: Any) -> None:
    found: Inverted = open_bench(sown).fulfil(inversion_of({**FEW, "refusal_positions": "all", "requests": "harmful"}))
    assert (found.edited - found.base).mean(axis=(1, 2))[1] < -3
    assert found.base.mean() > found.other.mean()


def test_at_the_requests_tokens_it_is_not_read_by_this_model(sown: Any) -> None:
    """The carrier stands at the last token: added to the request alone it is seen by nobody."""
    found: Inverted = open_bench(sown).fulfil(inversion_of(FEW))
    assert np.abs((found.edited - found.base).mean(axis=(1, 2))).max() < 0.1
    assert found.base.shape == (3, 8)
    assert found.mass.shape == (3, 3, 8)


def test_a_layer_that_does_not_exist_and_answers_that_no_token_says(sown: Any, planted: Any) -> None:
    with pytest.raises(NothingToMeasure, match="no layer 8"):
        open_bench(sown).fulfil(inversion_of({**PARAMETERS, "layer": 8}))
    with pytest.raises(NothingToMeasure, match="does not tell the answers"):
        open_bench(planted(layer=2, position=-1)).fulfil(inversion_of(PARAMETERS))


def test_tokens_of_the_two_answers_differ(sown: Any) -> None:
    one, other = inverting.answer_tokens(open_bench(sown).chat)
    assert one != other
    assert Path(sown.folder).is_dir()
