"""Stopped at any point: what was decided is reported as incomplete, what was measured is kept, the result the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

import pytest

from geoaudit.audit.fulfilling import Fulfilling
from geoaudit.measures import completing
from tests.plugin.project import COMPLIES, FOUR, REFUSES, UNSURE, Project, output

pytestmark = pytest.mark.slow

BOTH = ("ckpt/step100", "ckpt/step50")
STAND_STILL = """
import time
from pathlib import Path
from geoaudit.audit.fulfilling import Fulfilling

original, phases = Fulfilling._fulfil, []

def wait(self, benches, work, expected):
    phases.append(work.phase)
    if phases.count("{phase}") <= {done}:
        return original(self, benches, work, expected)
    Path("waiting").touch()
    time.sleep(120)

Fulfilling._fulfil = wait
"""
"""A conftest that stands still where something is measured, after it was done so many times."""


def start_and_stop(project: Project, stop: signal.Signals, phase: str, done: int) -> tuple[int, str]:
    """Pytest on both checkpoints with the store `stopped`, stopped by a signal from outside while it measures."""
    conftest = project.write("conftest.py", STAND_STILL.format(phase=phase, done=done))
    command = [sys.executable, "-m", "pytest", *project.command("--geoaudit-store=stopped", model=BOTH)]
    with subprocess.Popen(
        command,
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell that starts these tests in the background leaves SIGINT ignored for all that they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        until = time.monotonic() + 240  # a busy machine must not fail a test
        while not (project.path / "waiting").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(stop)
        text, _ = process.communicate(timeout=240)
    conftest.unlink()
    (project.path / "waiting").unlink()
    return process.returncode, text


def measurements(project: Project, store: str) -> list[dict[str, Any]]:
    """Of both checkpoints, measured here and now if they are not in the store."""
    project.run(f"--geoaudit-store={store}", f"--geoaudit-report={store}.html", model=BOTH)
    found: list[dict[str, Any]] = project.record(f"{store}.html")["measurements"]
    return found


def test_killed_then_interrupted_then_finished(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of a run that nobody disturbed, bit for bit in float32, and nothing is measured twice."""
    project.suite(*FOUR)
    code, text = start_and_stop(project, signal.SIGKILL, "generate", 1)
    assert code == -signal.SIGKILL, text
    assert not (project.path / "reports").exists()

    code, text = start_and_stop(project, signal.SIGINT, "carrier search", 1)  # in the second checkpoint
    assert code == pytest.ExitCode.INTERRUPTED, text
    assert "INTERNALERROR" not in text
    assert "Incomplete" in text
    record = project.record()
    assert project.outcomes() == {"refuses ckpt/step100": "passed"}
    assert record["status"] == "incomplete"
    assert record["exit"] == {"code": 2, "reason": "1 passed, 7 not decided (interrupted)"}
    assert "ncomplete" in (project.path / "reports/geoaudit.html").read_text()

    generated: list[int] = []
    generate = completing._generate
    with monkeypatch.context() as patch:
        patch.setattr(completing, "_generate", lambda *args: generated.append(1) or generate(*args))
        finished = measurements(project, "stopped")
        assert not generated
        assert finished == measurements(project, "undisturbed")
    assert len(generated) == 6  # three sets of completions a checkpoint
    assert project.outcomes("stopped.html") == project.outcomes("undisturbed.html")
    by_key = {one["key"]: one for one in finished}
    assert [by_key[one["key"]] for one in record["measurements"]] == record["measurements"]


def test_ctrl_c_before_anything_was_decided(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> NoReturn:
        raise KeyboardInterrupt

    project.suite(*FOUR)
    with monkeypatch.context() as patch:
        patch.setattr(Fulfilling, "_fulfil", interrupt)
        result = project.pytester.inline_run(*project.command("--geoaudit-store=stopped"), no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (project.path / "reports").exists()
    assert project.run("--geoaudit-store=stopped", "-k", "carrier").ret == 0  # the lock was given back


def test_stop_at_the_first_failure(project: Project) -> None:
    project.suite(REFUSES, COMPLIES, UNSURE)
    result = project.run("-x")
    assert result.ret == 1
    assert project.outcomes() == {"refuses ckpt/step100": "passed", "complies ckpt/step100": "failed"}
    record = project.record()
    assert record["status"] == "incomplete"
    assert record["exit"]["reason"].startswith("1 failed, 1 passed, 1 not decided")
    assert "Incomplete" in output(result)


def test_an_error_while_measuring_is_no_verdict(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, a defect: an error for each assertion that hung on it, one traceback, and not measured again."""

    def fail(*args: object) -> NoReturn:
        raise MemoryError("no room for this model")

    monkeypatch.setattr(completing, "_generate", fail)
    project.suite(*FOUR)
    result = project.run("--geoaudit-store=store")
    assert result.ret == 1
    result.assert_outcomes(failed=4)
    text = output(result)
    assert text.count('raise MemoryError("no room for this model")') == 1
    assert text.count("measuring ckpt/step100 stopped before: MemoryError: no room for this model") >= 3
    assert "no assertion was decided" in text
    assert not (project.path / "reports").exists()
