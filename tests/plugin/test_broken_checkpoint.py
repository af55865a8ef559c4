"""What shows only on loading: NaN, truncated and misread checkpoints are *invalid*, exit 1, and never a pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.project import COMPLIES, FOUR, REFUSES, Project, output


@pytest.fixture
def broken(project: Project) -> Path:
    """A copy of the refusing checkpoint, `run/broken`."""
    return Path(shutil.copytree(project.path / "ckpt" / "step100", project.path / "run" / "broken"))


def all_invalid(project: Project, result: pytest.RunResult, *words: str) -> None:
    assert result.ret == 1
    text = " ".join(output(result).split())  # however the table is wrapped
    for word in words:
        assert word in text
    assert "Traceback" not in output(result)
    assert set(project.outcomes().values()) == {"invalid"}
    record = project.record()
    assert len(record["assertions"]) == 4
    assert record["status"] == "complete"
    assert {one["estimate"] for one in record["measurements"]} == {None}
    for one in record["measurements"]:
        assert words[0] in one["why_missing"]
    result.stdout.fnmatch_lines(["* 4 invalid in *"])


def test_nan_weights(project: Project, broken: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    weights["model.layers.4.mlp.up_proj.weight"][1, 2] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    project.suite(*FOUR)
    result = project.run(model="run/broken")
    all_invalid(project, result, "model.layers.4.mlp.up_proj.weight has 1 NaN or infinite values", "run/broken")
    assert output(result).count("geoaudit: run/broken: loading") == 1


def test_truncated_weights(project: Project, broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    project.suite(*FOUR)
    result = project.run(model="run/broken")
    all_invalid(project, result, "is not a whole safetensors file", "Save or copy the checkpoint again")
    assert project.record()["checkpoints"][0]["id"] is None


def test_plan_of_truncated_weights(project: Project, broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    project.suite(*FOUR)
    result = project.run("--geoaudit-plan", model="run/broken")
    assert "is not a whole safetensors file" in output(result)
    assert "Traceback" not in output(result)
    assert "INTERNALERROR" not in output(result)
    assert result.ret == 0


def test_tokenizer_that_does_not_load(project: Project, broken: Path) -> None:
    (broken / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nonsense"}}')
    project.suite(*FOUR)
    result = project.run(model="run/broken")
    all_invalid(project, result, "does not load")


def test_one_broken_checkpoint_leaves_the_others(project: Project, broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    project.suite(REFUSES, COMPLIES)
    result = project.run(model=("run/broken", "ckpt/step100"))
    assert result.ret == 1
    assert project.outcomes() == {
        "refuses run/broken": "invalid",
        "complies run/broken": "invalid",
        "refuses ckpt/step100": "passed",
        "complies ckpt/step100": "failed",
    }
