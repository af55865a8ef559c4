"""Lines that compare checkpoints of one run: which have them, with whom, and what a person is told where none is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.project import REFUSES, SEARCH, XDIST, Project, complaint, line, output

if TYPE_CHECKING:
    from tests.model.planted import Planted

RUN = ("r2d2/step10", "r2d2/step20")
ANGLE = line("axis-stays", "principal_angle", with_={"n_train": 32, "k": 1}, at_most=30)
"""Failed on r2d2/step20: it is another model, with its refusal along another axis."""
MOVED = line("carrier-moves", "carrier_relocation", with_=SEARCH, equals=2)
REPLACED = line("carrier-is-replaced", "carrier_transfer", with_=SEARCH, at_most=0.5)


@pytest.fixture(scope="module")
def trajectory(planted: Callable[..., Planted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`step10` carries refusal at layer 1, position −1; `step20`, another model, at layer 3, position −2."""
    folder = tmp_path_factory.mktemp("r2d2")
    for step, made in ((10, planted(layer=1, position=-1)), (20, planted(layer=3, position=-2, seed=1))):
        (folder / f"step{step}").symlink_to(made.folder, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that these tests fill and read."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(project: Project, trajectory: Path, shared: Path) -> Project:
    """A project beside `r2d2/step10` and `r2d2/step20`."""
    (project.path / "r2d2").symlink_to(trajectory)
    return Project(project.pytester, shared)


def start(project: Project, *args: str, model: str | tuple[str, ...] = RUN) -> pytest.RunResult:
    return project.run_apart(*args, model=model) if "-n" in args else project.run(*args, model=model)


@XDIST
def test_every_checkpoint_but_the_reference_is_compared_with_it(run: Project, args: tuple[str, ...]) -> None:
    """Also where two workers, who find nothing in the store, reach for each other's checkpoints."""
    run.suite(ANGLE, MOVED, REPLACED, line("layer", "carrier_layer", with_=SEARCH, between=[1, 3]))
    result = start(run, *args, *(("--geoaudit-store=new",) if args else ()))
    assert result.ret == 1, output(result)
    assert run.outcomes() == {
        "axis-stays r2d2/step20": "failed",
        "carrier-moves r2d2/step20": "passed",
        "carrier-is-replaced r2d2/step20": "passed",
        "layer r2d2/step10": "passed",
        "layer r2d2/step20": "passed",
    }
    record = run.record()
    assert record["status"] == "complete"
    (transfer,) = (one for one in record["measurements"] if one["measure"] == "carrier_transfer")
    assert transfer["detail"]["class"] == "reorganised"
    assert transfer["detail"]["matrix"]["checkpoints"] == list(RUN)
    assert all(one["template"] for one in record["checkpoints"])


def test_another_reference_turns_the_comparison_round(run: Project) -> None:
    run.suite(ANGLE)
    start(run, "--geoaudit-reference=r2d2/step20")
    assert run.outcomes() == {"axis-stays r2d2/step10": "failed"}
    assert run.record()["measurements"][0]["detail"]["reference"] == "r2d2/step20"


def test_the_reference_of_the_ini_file_is_that_of_unrelated_folders(run: Project, trajectory: Path) -> None:
    run.write("pytest.ini", "[pytest]\ngeoaudit_reference = before\n")
    run.link((trajectory / "step10").resolve(), "base/model")
    run.suite(ANGLE, line("previous", "principal_angle", with_={**ANGLE["with"], "against": "previous"}, at_most=30))
    result = start(run, model=("before=base/model", *RUN))
    assert run.outcomes() == {
        "axis-stays r2d2/step10": "passed",
        "axis-stays r2d2/step20": "failed",
        "previous r2d2/step20": "failed",
    }, output(result)


ALONE = (
    "r2d2/step20 is the only checkpoint of its run in this audit, so that there is no reference to compare it with: "
    "audit it too, or name another with --geoaudit-reference=NAME"
)


@XDIST
def test_a_comparison_without_a_reference_is_invalid_alone_and_the_rest_is_run(
    run: Project, args: tuple[str, ...]
) -> None:
    run.suite(REFUSES, ANGLE, line("turns", "principal_angle", with_=ANGLE["with"], across="trajectory", never_above=9))
    if args:
        start(run, model=RUN[1])  # measured in this process, which has torch: the workers read it
    result = start(run, *args, model=RUN[1])
    assert result.ret == 1, output(result)
    assert run.outcomes() == {
        "refuses r2d2/step20": "passed",
        "axis-stays r2d2/step20": "invalid",
        "turns r2d2": "invalid",
    }
    text = " ".join(output(result).split())
    assert f"not measured: {ALONE}" in text
    both = "axis-stays (gate.audit.yaml), turns (gate.audit.yaml)"
    assert text.count(f"geoaudit: cannot be decided: {both}: {ALONE}") == 1, "one process says it"
    assert "Traceback" not in text


def test_a_change_against_a_reference_that_is_not_there_is_invalid_alone(run: Project) -> None:
    change = line("no-less", "refusal_rate", change_at_least=-0.3, against="reference")
    made = {"source": "harmful", "n": 2, "attack": "gcg", "made_on": "gone"}
    run.suite(REFUSES, change, line("named", "transfer_asr", with_=made, at_most=0.9))
    plan = output(start(run, "--geoaudit-plan", model=RUN[1]))
    assert f"no-less: cannot be measured: nothing to compare with: {ALONE}" in plan
    result = start(run, model=RUN[1])
    assert run.outcomes() == {
        "refuses r2d2/step20": "passed",
        "no-less r2d2/step20": "invalid",
        "named r2d2/step20": "invalid",
    }, output(result)
    entries = {one["id"]: one["sentence"] for one in run.record()["assertions"]}
    assert ALONE in entries["no-less"]
    assert "there is no checkpoint 'gone' in this audit" in entries["named"]
    replayed = run.run("--geoaudit-replay=reports/geoaudit.json", model=None)
    assert replayed.ret == 1
    assert run.outcomes("reports/geoaudit-replay.html") == run.outcomes()


def test_a_line_about_the_reference_alone_is_skipped_with_the_reason(run: Project) -> None:
    run.suite({**ANGLE, "checkpoints": "*/step10"})
    result = start(run, "-rs")
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["SKIPPED *concerns r2d2/step10, with which there is nothing to compare"])
    assert "no assertion was decided" in output(result)


def test_a_reference_that_is_not_audited(run: Project) -> None:
    run.suite(ANGLE)
    said = complaint(start(run, "--geoaudit-reference=step10"))
    assert "--geoaudit-reference 'step10' is no checkpoint of this audit" in said
    assert "r2d2/step10, r2d2/step20" in said


def test_in_python_the_reference_is_skipped_and_a_missing_one_is_an_error(run: Project) -> None:
    run.write(
        "assertions/test_drift.py",
        """
def test_axis(audit):
    assert audit.principal_angle(n_train=32, k=1) >= 30
""",
    )
    result = start(run, "-rs", "assertions/test_drift.py")
    result.assert_outcomes(passed=1, skipped=1)
    assert "r2d2/step10 is itself the reference: there is nothing to compare it with" in output(result)
    assert run.outcomes() == {"test_axis: principal_angle r2d2/step20": "passed"}
    alone = start(run, "assertions/test_drift.py", model=RUN[1])
    alone.assert_outcomes(failed=1)
    assert "RequestError: r2d2/step20 is the only checkpoint of its run" in output(alone)


def test_the_plan_names_work_on_both_checkpoints_once(run: Project) -> None:
    run.suite(REPLACED, line("layer", "carrier_layer", with_=SEARCH, between=[1, 3]))
    result = start(run, "--geoaudit-plan", "--geoaudit-store=empty")
    text = output(result)
    assert text.count("carrier search: 16 prompts") == 2, "one each"
    assert "carrier transfer from r2d2/step10: 16 prompts" in text
    assert "carrier transfer from r2d2/step20 of r2d2/step10: 16 prompts" in text
    assert "plan for r2d2/step10" in text


def test_models_that_cannot_be_compared_are_invalid_and_say_why(run: Project) -> None:
    from tests.model.families import TOKENS, tiny_model, word_tokenizer

    folder = run.path / "narrow"
    tiny_model("llama", max_position_embeddings=512).save_pretrained(folder)
    word_tokenizer(TOKENS).save_pretrained(folder)
    run.suite({**ANGLE, "checkpoints": "*/step20"})
    result = start(run, "--geoaudit-reference=narrow", model=("narrow=narrow", RUN[1]))
    assert result.ret == 1
    assert run.outcomes() == {"axis-stays r2d2/step20": "invalid"}
    assert "64 and 32 wide" in run.record()["measurements"][0]["why_missing"]
