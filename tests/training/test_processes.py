"""Two processes (torchrun, gloo) make the weights of one."""

from __future__ import annotations

import json

import pytest
import torch

from tests.training import launched, tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(in_two_processes, tmp_path_factory):
    """The checkpoints of two processes, of one, and what each of the two said of itself."""
    folder = in_two_processes("sft")
    said = [json.loads((folder / f"process{rank}.json").read_text()) for rank in range(2)]
    alone = tmp_path_factory.mktemp("one")
    one = tiny.train(alone, alone / "one", **launched.SFT)
    return [folder / "two" / path.name for path in one], one, said


def test_there_really_were_two(both):
    two, _, said = both
    assert said == [{"world": 2, "backend": "gloo", "micro": 1}] * 2
    manifest = json.loads((two[-1] / "geoaudit-training.json").read_text())
    assert manifest["hyperparameters"]["processes"] == 2


def test_two_processes_make_the_weights_of_one(both):
    two, one, _ = both
    assert [path.name for path in two] == ["step0", "step3", "step6"]
    start = tiny.weights(one[0])
    for mine, other in zip(two[1:], one[1:], strict=True):
        first, second = tiny.weights(mine), tiny.weights(other)
        assert first.keys() == second.keys()
        moved = max(float((second[name] - start[name]).abs().max()) for name in first)
        apart = max(float((second[name] - first[name]).abs().max()) for name in first)
        assert apart < 1e-3 * moved


def test_two_processes_see_the_losses_of_one(both):
    two, one, _ = both
    curves = [json.loads((path / "geoaudit-training.json").read_text())["curves"] for path in (two[-1], one[-1])]
    for name in ("loss", "grad_norm"):
        torch.testing.assert_close(torch.tensor(curves[0][name]), torch.tensor(curves[1][name]), rtol=1e-4, atol=1e-5)
