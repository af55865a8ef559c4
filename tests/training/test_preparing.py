"""What a run starts from: its own weights require gradients, no others, and a base is a whole model."""

from __future__ import annotations

import pytest

from geoaudit.errors import RequestError
from geoaudit.training.rows import IGNORED, collate
from tests.training import tiny


def test_a_lora_trains_its_own_weights_only(tmp_path):
    _, found = tiny.prepared(tmp_path, adapter={"rank": 3, "modules": ["q_proj"]})
    trained = [name for name, weight in found.model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("q_proj" in name and "lora_" in name for name in trained)
    assert {len(w) for n, w in found.model.named_parameters() if "lora_A" in n} == {3}


def test_modules_that_the_model_has_not(tmp_path):
    with pytest.raises(RequestError, match=r"adapter\.modules fits no layer"):
        tiny.prepared(tmp_path, adapter={"modules": ["c_attn"]})


def test_every_token_or_the_answers(tmp_path):
    _, answers = tiny.prepared(tmp_path)
    _, every = tiny.prepared(tmp_path, loss="all")
    for found, wanted in ((answers, False), (every, True)):
        labels = collate([found.rows[0]])["labels"][0]
        assert int(labels[0]) == IGNORED
        assert bool((labels[1:] != IGNORED).all()) is wanted


def test_an_adapter_is_no_base(tmp_path):
    (path,) = tiny.train(tmp_path, tmp_path / "out", steps=1, adapter={"rank": 2})
    with pytest.raises(RequestError, match="is an adapter: merge it into its base first"):
        tiny.train(tmp_path, tmp_path / "more", base=str(path))
