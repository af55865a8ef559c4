"""R2D2 on two processes: the same pool and, up to rounding, the same weights as on one."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from geoaudit.training.pool import FILE
from tests.training.r2d2_tiny import main

pytestmark = pytest.mark.slow


def read(out):
    left = json.loads((out / "left.json").read_text())
    return left, load_file(out / "weights.safetensors"), json.loads((out / FILE).read_text())


@pytest.fixture(scope="module")
def both(in_two_processes, tmp_path_factory):
    one = tmp_path_factory.mktemp("one")
    main(one)
    return read(one), read(in_two_processes("r2d2"))


def test_there_were_two(both):
    assert [left["processes"] for left, _, _ in both] == [1, 2]


def test_the_pool_is_the_same(both):
    (_, _, one), (_, _, two) = both
    for alone, shared in zip(one["cases"], two["cases"], strict=True):
        assert alone.pop("loss") == pytest.approx(shared.pop("loss"), abs=1e-5)
        assert alone == shared
    assert {**one, "cases": 0} == {**two, "cases": 0}


def test_losses_and_weights_are_the_same(both):
    (one, weights, _), (two, shared, _) = both
    assert set(one["curves"]) == set(two["curves"]) >= {"loss", "clean", "away", "toward", "attack_after"}
    for name in ("loss", "clean", "away", "toward", "away_tokens", "attack_before", "attack_after"):
        assert one["curves"][name] == pytest.approx(two["curves"][name], abs=1e-5), name
    for name, weight in weights.items():
        assert torch.allclose(weight, shared[name], atol=1e-5), name
