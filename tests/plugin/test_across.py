"""Lines about a whole trajectory under pytest: one item each, decided on all its checkpoints, never green alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.project import RATE, SEARCH, XDIST, Project, line, output

if TYPE_CHECKING:
    from tests.model.planted import Planted

STEPS = (10, 20, 30, 40)
RUN = tuple(f"r2d2/step{step}" for step in STEPS)
ACROSS = {"across": "trajectory"}
HOLDS = line("holds", "refusal_rate", never_below=0.5, **ACROSS)
MOVES = line("moves", "carrier_layer", with_=SEARCH, relocates={"from": [3, 3], "to": [0, 1], "by": 30}, **ACROSS)
TREND = line("sinks", "carrier_layer", with_=SEARCH, trend="falling", **ACROSS)


@pytest.fixture(scope="module")
def trajectory(planted: Callable[..., Planted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refusal is carried at layer 3 at steps 10 and 20, and at layer 1 at steps 30 and 40."""
    folder = tmp_path_factory.mktemp("r2d2")
    late, early = planted(layer=3, position=-2, seed=1), planted(layer=1, position=-1)
    for step, made in zip(STEPS, (late, late, early, early), strict=True):
        (folder / f"step{step}").symlink_to(made.folder, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(project: Project, trajectory: Path, shared: Path) -> Project:
    (project.path / "r2d2").symlink_to(trajectory)
    return Project(project.pytester, shared)


@XDIST
def test_a_line_across_a_trajectory_is_one_item_that_rests_on_all_its_checkpoints(
    run: Project, args: tuple[str, ...]
) -> None:
    run.suite(HOLDS, MOVES, TREND, line("each", "refusal_rate", at_least=0.5))
    start = run.run_apart if args else run.run
    result = start(*args, "-v", model=tuple(reversed(RUN)))
    text = output(result)
    assert run.outcomes() == {
        "holds r2d2": "passed",
        "moves r2d2": "passed",
        "sinks r2d2": "invalid",
        **{f"each {name}": "passed" for name in RUN},
    }, text
    assert result.ret == 1
    assert "holds[r2d2]" in text
    record = run.record()
    assert record["status"] == "complete"
    entry = next(one for one in record["assertions"] if one["id"] == "moves")
    assert entry["kind"] == "across"
    assert entry["comparator"] == "relocates"
    assert [row["checkpoint"] for row in entry["result"]["points"]] == list(RUN), "by step, however they are named"
    assert [row["estimate"] for row in entry["result"]["points"]] == [3, 3, 1, 1]
    assert len(entry["others"]) == 3
    sinks = next(one for one in record["assertions"] if one["id"] == "sinks")
    assert "few-points" in sinks["sentence"]


def test_a_rule_that_is_broken_at_one_step_fails_and_says_where(run: Project) -> None:
    run.suite({**MOVES, "relocates": {"from": [3, 3], "to": [0, 1], "by": 20}})
    result = run.run(model=RUN)
    assert run.outcomes() == {"moves r2d2": "failed"}
    assert "at r2d2/step20" in output(result)


def test_two_runs_are_two_items_and_a_model_beside_them_is_none(run: Project, trajectory: Path) -> None:
    for step in (10, 20):
        run.link((trajectory / f"step{step}").resolve(), f"sft/step{step}")
    run.link((trajectory / "step10").resolve(), "other/release")
    run.suite(HOLDS)
    run.run(model=(*RUN[:2], "sft/step10", "sft/step20", "other/release"))
    assert run.outcomes() == {"holds r2d2": "passed", "holds sft": "passed"}


@pytest.mark.parametrize("restrict", [{}, {"steps": [20]}, {"checkpoints": "*/step20"}], ids=str)
def test_one_checkpoint_alone_is_invalid_with_the_reason_and_never_green(run: Project, restrict: dict) -> None:
    run.suite({**HOLDS, **restrict})
    result = run.run(model=RUN if restrict else RUN[1])
    assert run.outcomes() == {"holds r2d2": "invalid"}
    assert result.ret == 1
    assert "few-points: one checkpoint is no trajectory: the line is about r2d2/step20 alone" in " ".join(
        output(result).split()
    )


def test_steps_choose_the_checkpoints_that_count(run: Project) -> None:
    run.suite({**HOLDS, "steps": [10, 40]})
    run.run(model=RUN)
    (entry,) = run.record()["assertions"]
    assert [row["step"] for row in entry["result"]["points"]] == [10, 40]


def test_a_line_that_concerns_no_checkpoint_is_skipped_with_the_reason(run: Project) -> None:
    run.suite({**HOLDS, "checkpoints": "sft/*"})
    result = run.run("-rs", model=RUN)
    result.assert_outcomes(skipped=1)
    assert "no audited checkpoint matches" in output(result)


def test_without_a_model_it_is_skipped(run: Project) -> None:
    run.suite(HOLDS)
    run.run("assertions", model=None).assert_outcomes(skipped=1)


def test_another_measure_is_measured_for_it_too(run: Project) -> None:
    goes = {"measure": "attack_success_rate", "with": RATE, "direction": "opposite"}
    run.suite(line("goes", "carrier_layer", with_=SEARCH, goes_with=goes, **ACROSS))
    result = run.run(model=RUN)
    assert run.outcomes() == {"goes r2d2": "invalid"}, output(result)
    (entry,) = run.record()["assertions"]
    assert all(row["other"]["estimate"] is not None for row in entry["result"]["points"])
    assert {one["measure"] for one in run.record()["measurements"]} == {"carrier_layer", "attack_success_rate"}


def test_a_measure_that_compares_leaves_the_reference_out(run: Project) -> None:
    angle = line("turns", "principal_angle", with_={"n_train": 32, "k": 1}, never_above=89.9, **ACROSS)
    run.suite(angle)
    run.run(model=RUN)
    (entry,) = run.record()["assertions"]
    assert [row["checkpoint"] for row in entry["result"]["points"]] == list(RUN[1:])


def test_a_checkpoint_that_cannot_be_measured_makes_the_line_invalid(run: Project) -> None:
    broken = run.path / "r2" / "step50"
    broken.parent.mkdir()
    for step in (10, 20):
        (run.path / "r2" / f"step{step}").symlink_to((run.path / f"r2d2/step{step}").resolve())
    run.link((run.path / "r2d2/step30").resolve(), "r2/step50")
    (broken / "model.safetensors").unlink()
    (broken / "model.safetensors").write_bytes(b"cut short")
    run.suite(HOLDS)
    result = run.run(model=("r2/step10", "r2/step20", "r2/step50"))
    assert run.outcomes() == {"holds r2": "invalid"}, output(result)
    assert "at r2/step50, not measured" in " ".join(output(result).split())


def test_the_plan_names_the_work_of_every_checkpoint(run: Project) -> None:
    run.suite(MOVES, {key: value for key, value in TREND.items() if key != "trend"} | {"change_point": "falling"})
    result = run.run("--geoaudit-plan", "--geoaudit-store=empty", model=RUN)
    text = output(result)
    assert text.count("carrier search: 16 prompts") == 4, text
    few = "few-points: 4 checkpoints are too few: no order of them has a p-value below 0.17"
    assert f"sinks (carrier_layer jumps down, gate.audit.yaml) on r2d2: {few}" in text
    assert text.count("few-points") == 1
