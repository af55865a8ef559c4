"""The training manifest: where a checkpoint stands in its run, and manifests that say nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geoaudit.errors import UnsupportedCheckpoint
from geoaudit.model import manifest

BEFORE: dict[str, Any] = {
    "geoaudit_training": 1,
    "recipe": "sft",
    "base": {"name": "base", "weights_sha256": "0" * 64},
    "steps": 70,
    "seed": 0,
    "hyperparameters": {"lr": 2e-3},
    "prompt_sets": {},
    "versions": {},
    "created": "2026-01-01T00:00:00Z",
}
"""As written before runs were part of it."""
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "safety-adapter"


def written(folder: Path, **more: Any) -> Path:
    (folder / manifest.FILE).write_text(json.dumps({**BEFORE, **more}))
    return folder


def test_a_manifest_without_a_run_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    found = manifest.read(written(tmp_path))
    assert found is not None
    assert (found.run, found.step, found.reference) == ("", None, None)
    assert json.loads(manifest.write(found, tmp_path).read_text()) == BEFORE


def test_the_manifest_of_the_example_is_read() -> None:
    found = manifest.read(EXAMPLE)
    assert found is not None
    assert found.run == ""


def test_a_place_in_a_run_is_kept(tmp_path: Path) -> None:
    given = {"run": "r2d2-7", "step": 0, "reference": 30}
    found = manifest.read(written(tmp_path, **given))
    assert found is not None
    assert (found.run, found.step, found.reference) == ("r2d2-7", 0, 30)
    assert json.loads(manifest.write(found, tmp_path).read_text()) == {**BEFORE, **given}


@pytest.mark.parametrize("wrong", [{"step": -1}, {"step": "late"}, {"reference": 1.5}, {"run": 7}, {"runs": "x"}])
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedCheckpoint, match="is not a training manifest"):
        manifest.read(written(tmp_path, **wrong))


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert manifest.read(tmp_path) is None


def test_curves_and_what_goes_with_them_are_kept(tmp_path: Path) -> None:
    given = {"curves": {"loss": [2.0, None, 1.5]}, "tokens": 300, "chat_sha256": "ab", "notes": ["One."]}
    found = manifest.read(written(tmp_path, **given))
    assert found is not None
    assert found.curves["loss"] == (2.0, None, 1.5)
    assert json.loads(manifest.write(found, tmp_path).read_text()) == {**BEFORE, **given}
