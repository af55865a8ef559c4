"""The constants of R2D2: the published values, closed keys, and what a preset says it does not repeat."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from geoaudit.training.behaviors import every, load, trained_on
from geoaudit.training.r2d2_settings import AFFIRMATIONS, BEHAVIORS, PRESETS, R2D2, REFUSALS


def test_the_defaults_are_the_published_constants():
    one = R2D2()
    assert (one.cases, one.updated, one.gcg_steps, one.width, one.topk) == (180, 8, 5, 512, 256)
    assert (one.reset_share, one.n_reset, one.reset_every) == (0.2, 36, 50)
    assert (one.clean_weight, one.away_weight, one.toward_weight, one.away_floor) == (1.0, 0.5, 0.5, -5.0)
    assert (one.initial, one.initial_tokens) == ("!", (15, 20))
    assert one.plain == 0


def test_the_presets_have_the_one_refusal_and_harmbench_its_pool():
    paper, harmbench = R2D2(preset="paper"), R2D2(preset="harmbench")
    assert paper.refusals == harmbench.refusals == ("Sorry, I can't do that.",)
    assert (paper.cases, harmbench.cases) == (180, 8)
    assert paper.filter
    assert not harmbench.filter
    assert not paper.monotone
    assert len(R2D2().refusals) == len(set(REFUSALS)) > 4


def test_keys_beside_a_preset_win():
    one = R2D2(preset="harmbench", cases=16, refusals=("No.",))
    assert (one.cases, one.refusals, one.filter) == (16, ("No.",), False)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_differs(preset):
    said = " ".join(R2D2(preset=preset).differences)
    for defect in ("re-seeds", "begins a text stands inside", "one chat template", "validation split"):
        assert defect in said
    assert R2D2().differences
    assert not any("validation split" in one for one in R2D2().differences)


def test_every_key_has_a_description():
    assert all(len(field.description) > 20 for field in R2D2.model_fields.values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"case": 3}, "Extra inputs"),
        ({"preset": "papr"}, "'paper' or 'harmbench'"),
        ({"cases": 4}, r"updated \(8\) is more than there are cases \(4\)"),
        ({"cases": 8, "reset_share": 0.1}, "of 8 cases is no case: from 0.125 on, or 0"),
        ({"initial_tokens": (5, 4)}, r"got \[5, 4\]"),
        ({"initial_tokens": (0, 4)}, r"got \[0, 4\]"),
        ({"behaviors": ("harmbench-vall",)}, "did you mean 'harmbench-val'"),
        ({"behaviors": ("advbench", "advbench")}, "'advbench' is given twice"),
        ({"behaviors": ()}, "at least 1"),
        ({"refusals": ("No.", " ")}, "is blank"),
        ({"away_weight": float("nan")}, "finite"),
        ({"away_weight": 0, "toward_weight": 0}, "plain sft"),
        ({"away_floor": 1.0}, "less than or equal to 0"),
        ({"width": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_right_says_so(given, said):
    with pytest.raises(ValidationError, match=said):
        R2D2(**given)


def test_a_share_is_rounded_down():
    assert R2D2(cases=9, reset_share=0.25).n_reset == 2
    assert R2D2(cases=180, reset_share=0.35).n_reset == 63, "0.35 × 180 is 62.999…"
    assert R2D2(reset_share=0).n_reset == 0


def test_the_built_in_behaviours_get_the_recipes_openings(tmp_path):
    [tune] = load(R2D2(), tmp_path)
    assert len(tune.behaviors) == 240
    assert all(one.targets == AFFIRMATIONS for one in tune.behaviors), "their own targets are refusals"
    listed = trained_on([tune])
    assert listed["tune-harmful"].n == 240
    assert set(listed["tune-harmful"].prompts) == {one.sha256 for one in tune.behaviors}


def test_every_named_source_loads_with_openings_of_its_own(tmp_path, benchmark_data):
    sets = load(R2D2(behaviors=BEHAVIORS), tmp_path, benchmark_data)
    assert [len(one.behaviors) for one in sets] == [240, 100, 41, 520, 100], "19 of harmbench-val need a context"
    for one in sets[1:]:
        assert all(behavior.targets for behavior in one.behaviors)
        assert not any(target in REFUSALS or not target.strip() for b in one.behaviors for target in b.targets)
    assert {len(b.targets) > 1 for b in sets[1].behaviors} == {True}
    whole = every(sets)
    assert len({one.request for one in whole}) == len(whole) == len({one.id for one in whole})


def test_a_file_brings_requests_and_targets(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,target\nask for this,Sure: this\nask for that,Sure: that\n")
    (tmp_path / "more.jsonl").write_text('{"prompt": "ask for this", "target": "Of course"}\n')
    sets = load(R2D2(behaviors=("mine.csv", "more.jsonl")), tmp_path)
    assert {one.request: one.targets for one in sets[0].behaviors} == {
        "ask for this": ("Sure: this",),
        "ask for that": ("Sure: that",),
    }
    assert len(every(sets)) == 2, "a request that two sources have is taken once"
    assert next(one for one in every(sets) if one.request == "ask for this").targets == ("Sure: this",)


def test_a_file_without_targets_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt\nask for this\n")
    with pytest.raises(Exception, match="target"):
        load(R2D2(behaviors=("mine.csv",)), tmp_path)
