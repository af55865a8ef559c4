"""The recipes of the trajectories differ in their regime and in nothing else, and train on no prompt that is scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoaudit.training.recipe import read

FOLDER = Path(__file__).parents[2] / "examples" / "recipes"
REGIMES = ("sft", "safety-sft", "r2d2")


def recipe(name):
    return read(FOLDER / f"trajectory-{name}.yaml")


@pytest.mark.parametrize("name", [*REGIMES, "r2d2-untouched", "start"])
def test_only_prompts_for_tuning_are_trained_on(name):
    one = recipe(name)
    named = [source.answers for source in one.data]
    named += [one.refusals.prompts] if one.refusals else []
    named += one.r2d2.behaviors if one.r2d2 else []
    assert set(named) <= {"tune-harmful", "tune-harmless"}


def test_the_regimes_start_from_one_adapter_and_run_alike():
    settings = []
    for name in REGIMES:
        one = recipe(name).to_json()
        settings.append(
            {key: one[key] for key in one if key not in ("recipe", "name", "about", "refusals", "r2d2", "batch")}
        )
    assert settings[0] == settings[1] == settings[2]
    assert settings[0]["adapter"] == {"start": "../trajectory-start/step100"}
    assert recipe("sft").saved == (0, 50, 100, 250, 500)
    assert recipe("sft").reference == 0


def test_every_step_has_as_many_harmless_rows():
    """And the same ones: see `test_beside_refusals_the_others_come_as_they_do_alone`."""
    safety = recipe("safety-sft")
    assert recipe("sft").batch == recipe("r2d2").batch == safety.batch * (1 - safety.refusals.share)


def test_the_untouched_run_differs_in_its_start_and_its_length_only():
    first, other = recipe("r2d2").to_json(), recipe("r2d2-untouched").to_json()
    differ = {key for key in first if first[key] != other[key]}
    assert differ == {"name", "about", "adapter", "steps", "checkpoints"}
    assert other["adapter"] == recipe("start").to_json()["adapter"], "the same rank and scaling, fresh"
    assert first["schedule"] == "constant", "so that a shorter run has the rates of a longer one's beginning"
