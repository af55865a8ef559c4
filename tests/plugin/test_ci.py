"""The workflows in `examples/ci`: every command in them is run as a runner would run it, on planted checkpoints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoaudit.audit.suite import read
from geoaudit.items import shipped_suites
from tests.plugin.project import PLAIN, REFUSES, UNSURE, Project, line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "ci"
WORKFLOWS = ("gate", "regression")
CHANGE = line("no-more-succeed", "attack_success_rate", change_at_most=0.3)
PIP = '#!/bin/bash\nprintf "%q " "$@" >>"$LOG/pip"\necho >>"$LOG/pip"\n'
GH = """#!/bin/bash
set -eu
printf "%q " "$@" >>"$LOG/gh"; echo >>"$LOG/gh"
if [ "$1 $2" = "run list" ]; then printf '%s\\n' $RUNS; exit; fi
[ "$1 $2 $3 $4 $5 $6" = "run download 2 --name geoaudit-report --dir" ] || { echo "no artifact" >&2; exit 1; }
mkdir -p "$7"; cp reports/main/* "$7"
"""


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    return found


def steps(name: str) -> list[dict[str, Any]]:
    (job,) = workflow(name)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def uses(name: str, action: str) -> dict[str, Any]:
    (step,) = [step for step in steps(name) if step.get("uses", "").startswith(f"actions/{action}@")]
    found: dict[str, Any] = step
    return found


@dataclass
class Job:
    """A runner: a project as its workspace, the workflow's `env`, stubs of what would reach the network."""

    project: Project
    name: str
    set_: dict[str, str]

    @property
    def logs(self) -> Path:
        return self.project.path / "logs"

    def log(self, program: str) -> list[list[str]]:
        return [shlex.split(row) for row in (self.logs / program).read_text().splitlines()]

    def run(self, **set_: str) -> tuple[int, str]:
        """Every `run` step up to the first that fails: (exit code, output)."""
        bin_ = self.project.path / "bin"
        bin_.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        for program, text in (("pip", PIP), ("gh", GH)):
            (bin_ / program).write_text(text)
            (bin_ / program).chmod(0o755)
        declared = {key: str(value) for key, value in workflow(self.name)["env"].items()}
        environment = {
            **os.environ,
            **declared,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_STEP_SUMMARY": str(self.project.path / "summary.md"),
            "GITHUB_WORKFLOW": workflow(self.name)["name"],
            "GH_TOKEN": "none",
            "LOG": str(self.logs),
            "RUNS": "",
            "PATH": os.pathsep.join([str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTEST_ADDOPTS": " ".join(PLAIN),
            "MODEL": "ckpt/step100",
            "STORE": str(self.project.store),
            **self.set_,
            **set_,
        }
        assert not any("${{" in value for value in environment.values())
        said = ""
        for step in steps(self.name):
            if "run" in step:
                done = subprocess.run(
                    ["bash", "-e", "-c", step["run"]],
                    cwd=self.project.path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=240,
                )
                said += done.stdout + done.stderr
                if done.returncode:
                    return done.returncode, said
        return 0, said

    @property
    def summary(self) -> str:
        return (self.project.path / "summary.md").read_text(encoding="utf-8")


@pytest.fixture
def gate(project: Project) -> Job:
    return Job(project, "gate", {"SUITE": str(project.suite(REFUSES))})


@pytest.fixture
def regression(project: Project) -> Job:
    return Job(project, "regression", {"SUITE": str(project.suite(CHANGE, name="regression"))})


# --- as files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_is_a_workflow_that_may_read_and_no_more(name: str) -> None:
    found = workflow(name)
    assert "pull_request" in found[True]  # YAML 1.1 reads `on` as a truth
    assert set(found["permissions"].values()) == {"read"}
    (job,) = found["jobs"].values()
    assert job["timeout-minutes"] <= 360
    assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    assert uses(name, "checkout")["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_and_say_which_version_that_is(name: str) -> None:
    written = [row for row in (FOLDER / f"{name}.yml").read_text().splitlines() if "uses:" in row]
    assert len(written) == 5
    for row in written:
        assert re.search(r"uses: actions/[a-z-]+(/[a-z]+)?@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", row), row


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_from_outside_is_pasted_into_a_command(name: str) -> None:
    commands = [step["run"] for step in steps(name) if "run" in step]
    assert len(commands) >= 2
    assert not any("${{" in command for command in commands)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_store_and_report_are_kept_also_after_a_red_run(name: str) -> None:
    restored, saved, uploaded = (uses(name, action) for action in ("cache/restore", "cache/save", "upload-artifact"))
    assert restored["with"]["path"] == saved["with"]["path"] == "${{ env.STORE }}"
    assert restored["with"]["key"] == saved["with"]["key"]
    assert restored["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert saved["if"] == uploaded["if"] == "always()"


def test_both_install_alike() -> None:
    assert next(step for step in steps("gate") if step.get("name") == "Install") in steps("regression")


def test_the_default_suites_are_there() -> None:
    assert (shipped_suites() / f"{workflow('gate')['env']['SUITE']}.audit.yaml").is_file()
    found = read(ROOT / workflow("regression")["env"]["SUITE"])
    assert {one.comparator for one in found.assertions} <= {"change_at_most", "change_at_least"}
    assert {one.against for one in found.assertions} == {"baseline"}


def test_the_readme_names_every_setting() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in WORKFLOWS:
        assert f"{name}.yml" in text
        assert all(f"`{setting}`" in text for setting in workflow(name)["env"])


# --- the gate --------------------------------------------------------------------------------------------------------


def test_the_gate_opens_for_a_checkpoint_that_passes(gate: Job) -> None:
    code, said = gate.run()
    assert code == 0, said
    assert "## ✅ geoaudit: The one assertion passed" in gate.summary
    for place in uses("gate", "upload-artifact")["with"]["path"].split():
        assert (gate.project.path / place).is_file()
    assert Path(gate.project.store).is_dir()
    torch, *others = gate.log("pip")
    assert torch[:3] == ["install", "--index-url", "https://download.pytorch.org/whl/cpu"]
    assert torch[3].startswith("torch")
    assert ["install", workflow("gate")["env"]["GEOAUDIT"]] in others
    assert (ROOT / workflow("gate")["env"]["GEOAUDIT"] / "pyproject.toml").is_file()


def test_the_gate_stays_shut_and_the_report_is_there_all_the_same(gate: Job) -> None:
    code, said = gate.run(MODEL="ckpt/step50")
    assert code == 1, said
    assert "## ❌ geoaudit: 1 failed of 1 assertion" in gate.summary
    assert all(
        (gate.project.path / place).is_file() for place in uses("gate", "upload-artifact")["with"]["path"].split()
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (UNSURE, "1 inconclusive"),
        ({**REFUSES, "id": "elsewhere", "checkpoints": "other/*"}, "no audited checkpoint matches"),
    ],
    ids=["inconclusive", "concerns-nothing"],
)
def test_what_is_not_shown_to_hold_is_red(gate: Job, more: dict[str, Any], words: str) -> None:
    gate.project.suite(REFUSES, more)
    code, said = gate.run()
    assert code == 1, said
    assert words in said


# --- the regression --------------------------------------------------------------------------------------------------


def test_a_regression_is_stopped_and_the_same_checkpoint_is_not(regression: Job) -> None:
    """The first push has nothing to compare with but itself; its record is the baseline of what follows."""
    code, said = regression.run(GITHUB_EVENT_NAME="push")
    assert code == 0, said
    assert not (regression.project.path / "baseline").exists()
    reports = regression.project.path / "reports"
    (reports / "main").mkdir()
    for file in reports.glob("*.*"):
        file.rename(reports / "main" / file.name)

    code, said = regression.run(RUNS="3 2 1")
    assert code == 0, said
    assert "## ✅ geoaudit" in regression.summary
    listed, refused, fetched = regression.log("gh")[-3:]
    assert listed[2:8] == ["--workflow", "safety regression", "--branch", "main", "--event", "push"]
    assert (refused[2], fetched[2]) == ("3", "2")
    record = regression.project.record()
    assert record["baseline"]["record"] is True
    assert [one["kind"] for one in record["assertions"]] == ["change"]

    code, said = regression.run(RUNS="3 2 1", MODEL="ckpt/step50")
    assert code == 1, said
    assert regression.project.outcomes() == {"no-more-succeed candidate": "failed"}
    assert "+1.000" in regression.summary


def test_a_pull_request_without_a_baseline_is_stopped_before_anything_is_measured(regression: Job) -> None:
    code, said = regression.run(RUNS="3 1")
    assert code == pytest.ExitCode.USAGE_ERROR, said
    assert "baseline/geoaudit.json" in said
    assert "Traceback" not in said
    assert not (regression.project.path / "reports").exists()
