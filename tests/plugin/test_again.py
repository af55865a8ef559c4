"""Again: from the store, without torch, in no time; a changed bound decides anew, other weights are measured anew."""

from __future__ import annotations

import json
import shutil
import time

from tests.plugin.project import FOUR, LAYER, REFUSES, UNSURE, Project, output

WATCHED = """
import json, sys

def pytest_sessionfinish(session):
    heavy = {"torch", "transformers", "numpy", "scipy", "matplotlib"} & set(sys.modules)
    (session.config.rootpath / "loaded.json").write_text(json.dumps(sorted(heavy)))
"""
TRANSIENT = ("created", "timings", "command")


def lasting(record: dict) -> dict:
    own = {key: value for key, value in record["provenance"].items() if key != "content_sha256"}
    return {key: value for key, value in record.items() if key not in TRANSIENT} | {"provenance": own}


def test_the_second_run_measures_nothing_and_imports_no_torch(project: Project) -> None:
    project.write("conftest.py", WATCHED)
    project.suite(*FOUR)
    result = project.run_apart()
    assert json.loads((project.path / "loaded.json").read_text()) == []
    assert "loading" not in output(result)
    assert "measurements to make" not in output(result)
    first = project.record()
    assert project.outcomes()["surely-refuses ckpt/step100"] == "inconclusive"

    # a changed bound is decided again, on the same numbers
    project.suite(*FOUR[:2], {**UNSURE, "at_least": 0.75}, {**LAYER, "equals": 2})
    started = time.monotonic()
    result = project.run_apart()
    seconds = time.monotonic() - started
    assert json.loads((project.path / "loaded.json").read_text()) == []
    assert "loading" not in output(result)
    assert project.outcomes()["surely-refuses ckpt/step100"] == "passed"
    assert project.outcomes()["carrier-stays ckpt/step100"] == "failed"
    second = project.record()
    assert second["measurements"] == first["measurements"]
    assert second["checkpoints"] == first["checkpoints"]
    assert second["timings"]["total"] <= 3
    assert seconds <= 10  # with python, pytest and a busy machine


def test_the_same_run_gives_the_same_record(project: Project) -> None:
    project.suite(*FOUR)
    project.run()
    first = project.record()
    project.run()
    assert lasting(project.record()) == lasting(first)


def test_a_checkpoint_that_was_overwritten_is_measured_again(project: Project) -> None:
    """Same path, other weights: the store goes by what is in the files."""
    folder = project.path / "run" / "step50"
    shutil.copytree(project.path / "ckpt" / "step50", folder)
    project.suite(REFUSES)
    assert project.run(model="run/step50").ret == 1
    weights = project.path / "ckpt" / "step100" / "model.safetensors"
    shutil.copy(weights, folder / "model.safetensors")
    assert project.run(model="run/step50").ret == 0
    assert project.outcomes() == {"refuses run/step50": "passed"}


def test_a_checkpoint_that_was_moved_is_not(project: Project) -> None:
    project.suite(REFUSES)
    shutil.copytree(project.path / "ckpt" / "step100", project.path / "moved" / "elsewhere")
    result = project.run(model="moved/elsewhere")
    assert "loading" not in output(result)
    assert project.outcomes() == {"refuses moved/elsewhere": "passed"}


def test_another_system_prompt_template_or_dtype_is_another_measurement(project: Project) -> None:
    project.suite(REFUSES)
    for option in ("--geoaudit-system=Be kind.", "--geoaudit-template=zephyr", "--geoaudit-dtype=bfloat16"):
        assert ": loading" in output(project.run(option)), option
        assert ": loading" not in output(project.run(option)), option
    assert project.record()["checkpoints"][0]["dtype"] == "bfloat16"
