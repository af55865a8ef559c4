"""A run that was killed and resumed makes the weights of one that was not, bit for bit in float32."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geoaudit.errors import RequestError
from geoaudit.training import resuming
from tests.training import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LORA = {"adapter": {"rank": 2, "alpha": 4.0, "dropout": 0.2}, "checkpoints": [2]}
"""With dropout, so that the random generators have to be the same too."""


def same(one: Path, other: Path) -> bool:
    first, second = tiny.weights(one), tiny.weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    changes = {"checkpoints": [3], "resume_every": 2}
    killed = tmp_path / "killed"
    tiny.write(tmp_path, **changes)
    program = [sys.executable, "-m", "tests.training.tiny", tmp_path, killed, "5", json.dumps(changes)]
    done = subprocess.run([str(one) for one in program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (killed / "step6").exists()
    assert resuming.latest(killed).name == "4"
    seen = Steps()
    first, last = tiny.train(tmp_path, killed, callbacks=(seen,), **changes)
    assert seen.steps == [5, 6]
    others = tiny.train(tmp_path, tmp_path / "whole", **changes)
    assert same(first, others[0])
    assert same(last, others[1])
    assert not same(first, last)
    read = [json.loads((one / "geoaudit-training.json").read_text()) for one in (first, last, others[1])]
    assert read[1]["curves"] == read[2]["curves"]
    assert len(read[1]["curves"]["loss"]) == 6
    assert read[1]["prompt_sets"] == read[2]["prompt_sets"]
    assert read[0]["run"] == read[1]["run"] != read[2]["run"]


def test_with_dropout_the_random_generators_go_on_too(tmp_path):
    with pytest.raises(Stop):
        tiny.train(tmp_path, tmp_path / "stopped", callbacks=(StopAt(5),), **LORA)
    assert resuming.latest(tmp_path / "stopped").name == "2"
    seen = Steps()
    (*_, last) = tiny.train(tmp_path, tmp_path / "stopped", callbacks=(seen,), **LORA)
    assert seen.steps == [3, 4, 5, 6]
    (*_, other) = tiny.train(tmp_path, tmp_path / "whole", **LORA)
    assert same(last, other)


def test_what_is_resumed_is_needed(tmp_path):
    """Without the optimiser's moments the weights would be others: the test above can fail."""
    changes = {"checkpoints": [3], "resume_every": 2}
    (*_, other) = tiny.train(tmp_path, tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        tiny.train(tmp_path, tmp_path / "stopped", callbacks=(StopAt(5),), **changes)
    state = resuming.latest(tmp_path / "stopped")
    moments = state / "moments.safetensors"
    from safetensors.torch import load_file, save_file

    kept = load_file(moments)
    save_file({name: torch.zeros_like(one) if "exp" in name else one for name, one in kept.items()}, moments)
    (*_, last) = tiny.train(tmp_path, tmp_path / "stopped", **changes)
    assert not same(last, other)


def test_a_run_that_a_callback_stops_leaves_a_checkpoint_and_goes_on(tmp_path):
    class Enough(tiny.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 3 or control.should_training_stop
            return control

    found = tiny.train(tmp_path, tmp_path / "out", callbacks=(Enough(),), checkpoints=[2])
    assert [one.name for one in found] == ["step2", "step3"]
    found = tiny.train(tmp_path, tmp_path / "out", checkpoints=[2])
    assert [one.name for one in found] == ["step2", "step3", "step6"]
    (*_, other) = tiny.train(tmp_path, tmp_path / "whole", checkpoints=[2])
    assert same(found[-1], other)


def test_another_number_of_processes_is_refused(tmp_path):
    with pytest.raises(Stop):
        tiny.train(tmp_path, tmp_path / "out", callbacks=(StopAt(5),), resume_every=2)
    own = resuming.latest(tmp_path / "out") / "process0.json"
    own.write_text(json.dumps({**json.loads(own.read_text()), "processes": 2}))
    with pytest.raises(RequestError, match="another number of processes"):
        tiny.train(tmp_path, tmp_path / "out", resume_every=2)


def test_a_state_that_was_being_written_is_passed_over(tmp_path):
    (tmp_path / ".resume" / "4.part").mkdir(parents=True)
    (tmp_path / ".resume" / "2").mkdir()
    (tmp_path / ".resume" / "2" / "trainer_state.json").write_text("{}")
    assert resuming.latest(tmp_path).name == "2"
    assert resuming.latest(tmp_path / "elsewhere") is None


def test_nothing_is_pickled(tmp_path):
    with pytest.raises(Stop):
        tiny.train(tmp_path, tmp_path / "out", callbacks=(StopAt(5),), checkpoints=[2], resume_every=1)
    files = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors", ".jinja"}


class Stop(Exception):
    """Ends a run in the middle."""


class StopAt(tiny.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


class Steps(tiny.TrainerCallback):
    """Which steps were made."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)


def test_the_environment_names_the_processes(monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "4")
    monkeypatch.setitem(os.environ, "RANK", "3")
    assert (resuming.processes(), resuming.rank()) == (4, 3)
