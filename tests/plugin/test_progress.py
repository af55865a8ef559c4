"""What is said while measuring: a line for each phase with its estimate, nothing under -q, nothing in the way."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from geoaudit.model import load
from tests.plugin.project import FOUR, REFUSES, Project, output

PHASES = [
    r"geoaudit: ckpt/step100: 3 measurements to make, about \d+ s",
    r"geoaudit: ckpt/step100: generate harmful \(16 prompts\), about \d+ s",
    r"geoaudit: ckpt/step100: loading",
    r"geoaudit: ckpt/step100: generate probe-harmful-validation \(8 prompts\), about \d+ s",
    r"geoaudit: ckpt/step100: generate probe-harmless-validation \(8 prompts\), about \d+ s",
    r"geoaudit: ckpt/step100: activations \(64 prompts\), about \d+ s",
    r"geoaudit: ckpt/step100: carrier search \(16 prompts\), about \d+ s",
    r"geoaudit: ckpt/step100: carrier controls \(16 prompts\), about \d+ s",
]
"""Of `FOUR`: two rates on the same completions, and the carrier."""


HOLD = """
import sys, time, filelock

with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(3)
"""


def said(result: pytest.RunResult) -> list[str]:
    return [line for line in output(result).splitlines() if line.startswith("geoaudit: ckpt/step100: ")]


@pytest.mark.parametrize("args", [(), ("-s",)], ids=["plain", "no-capture"])
def test_a_line_for_each_phase(project: Project, args: tuple[str, ...]) -> None:
    project.suite(*FOUR)
    result = project.run("--geoaudit-store=store", *args)
    lines = said(result)
    assert len(lines) == len(PHASES)
    for line, pattern in zip(lines, PHASES, strict=True):
        assert re.fullmatch(pattern, line)


def test_quiet_is_quiet(project: Project) -> None:
    project.suite(REFUSES)
    result = project.run("--geoaudit-store=store", "-q")
    assert result.ret == 0
    said = [line for line in output(result).splitlines() if line.startswith("geoaudit: ")]
    assert said == ["geoaudit: 1 passed (every assertion passed)"]


@pytest.mark.slow
def test_the_estimate_learns_from_this_machine_and_not_from_loading(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint's slow start must not make the next one look slow."""
    slow = load.load

    def slowly(*args: object, **kwargs: object) -> object:
        time.sleep(1.2)
        return slow(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "load", slowly)
    project.suite(REFUSES)
    result = project.run("--geoaudit-store=store", model=("ckpt/step100", "ckpt/step50"))
    assert "geoaudit: ckpt/step50: 1 measurements to make, about 1 s" in output(result)
    timings = project.record()["timings"]
    assert timings["load"] >= 2.4
    assert timings["generate"] < 1


@pytest.mark.slow
def test_another_process_is_waited_for(project: Project) -> None:
    project.suite(REFUSES)
    project.run()
    identity = project.record()["checkpoints"][0]["id"]
    (project.path / "store" / "locks").mkdir(parents=True)
    lock = project.path / "store" / "locks" / f"{identity[:32]}.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        result = project.run("--geoaudit-store=store")
    assert said(result)[0].endswith("another process is measuring this checkpoint, waiting for it")
    assert result.ret == 0
