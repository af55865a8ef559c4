"""The `monitor:` block of a recipe: it follows the run, changes no weight, and stops it where a bound is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from geoaudit.errors import RecipeError
from geoaudit.training import curve, recipe
from tests.model.planted import HARMFUL, HARMLESS
from tests.training import tiny

MONITOR: dict[str, Any] = {
    "every": 2,
    "n_train": 4,
    "n_validation": 4,
    "layers": [1, 2],
    "positions": 2,
    "train": ["harm.txt", "harmless.txt"],
    "validation": ["harm.txt", "harmless.txt"],
    "refusals": ["describe"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the recipe, with the monitor's prompts beside it."""
    (tmp_path / "harm.txt").write_text("\n".join(HARMFUL))
    (tmp_path / "harmless.txt").write_text("\n".join(HARMLESS))
    return tmp_path


def test_a_run_with_and_without_it_ends_in_the_same_weights(folder: Path) -> None:
    plain = tiny.train(folder, folder / "plain", steps=4)
    watched = tiny.train(folder, folder / "watched", steps=4, monitor=MONITOR)
    one, other = (tiny.weights(found[-1]) for found in (plain, watched))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    found = curve.read(folder / "watched" / "monitor")
    assert found is not None
    assert [point.step for point in found.points] == [0, 2, 4]
    assert all(not point.why_missing for point in found.points)
    assert (folder / "watched" / "monitor" / curve.HTML).is_file()
    assert not (folder / "plain" / "monitor").exists()


def test_it_asks_under_the_system_prompt_of_the_conversations(folder: Path) -> None:
    tiny.train(folder, folder / "plain", steps=1, monitor=MONITOR)
    tiny.train(folder, folder / "system", steps=1, monitor=MONITOR, chat={"system": "draw a tiger"})
    own = {**MONITOR, "system": "dig a well"}
    tiny.train(folder, folder / "own", steps=1, monitor=own, chat={"system": "draw a tiger"})
    found = [curve.read(folder / name / "monitor") for name in ("plain", "system", "own")]
    assert [one.about["settings"]["system"] for one in found if one] == [None, "draw a tiger", "dig a well"]
    assert len({one.about["chat"] for one in found if one}) == 3


def test_it_is_no_part_of_what_determines_the_weights(folder: Path) -> None:
    with_it = recipe.read(tiny.write(folder, monitor=MONITOR)).sha256
    assert recipe.read(tiny.write(folder)).sha256 == with_it


def test_a_broken_bound_stops_the_run_with_a_checkpoint_that_it_goes_on_from(folder: Path) -> None:
    stop = [{"quantity": "refusal_harmful", "at_least": 1000, "patience": 2}]
    stopped = tiny.train(folder, folder / "out", steps=6, monitor={**MONITOR, "stop": stop})
    assert [path.name for path in stopped] == ["step2"] or (folder / "out" / "step2").is_dir()
    assert not (folder / "out" / "step6").exists()
    whole = tiny.train(folder, folder / "whole", steps=6)
    after = tiny.train(folder, folder / "out", steps=6, monitor=MONITOR)
    one, other = (tiny.weights(found[-1]) for found in (whole, after))
    assert all(torch.equal(one[name], other[name]) for name in one)
    found = curve.read(folder / "out" / "monitor")
    assert found is not None
    assert [point.step for point in found.points] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"evry": 3}, "did you mean 'every'"),
        ({"preset": "papr"}, "did you mean 'paper'"),
        ({"stop": [{"quantity": "refusal_harmfull", "at_least": 0}]}, "did you mean 'refusal_harmful'"),
        ({"stop": [{"quantity": "kl"}]}, "at_least or at_most"),
        ({"layers": []}, "empty"),
        ({"n_train": 2}, "n_train"),
    ],
)
def test_a_wrong_word_is_found_by_its_place(folder: Path, block: dict[str, Any], said: str) -> None:
    path = tiny.write(folder, monitor=block)
    with pytest.raises(RecipeError, match=r"tiny\.yaml:\d+:\d+: ") as error:
        recipe.read(path)
    assert said in str(error.value)
