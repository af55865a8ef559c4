"""The loop does what the recipe says: the step of an independent recomputation, whatever it is divided into."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn import functional

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model import manifest
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load
from geoaudit.training import recipe, run
from geoaudit.training.trainer import Training
from tests.training import tiny


def apart(one, other):
    first, second = tiny.weights(one), tiny.weights(other)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_steps_agree_with_a_slow_recomputation(tmp_path):
    """Two steps by hand: one sequence at a time, mean over the step's learnt tokens, clipped, AdamW."""
    changes = {"steps": 2, "batch": 4, "micro_batch": 2, "weight_decay": 0.1, "schedule": "linear"}
    _, found = tiny.prepared(tmp_path, **changes)
    (path,) = tiny.train(tmp_path, tmp_path / "out", **changes)
    model, _ = load(resolve(str(tmp_path / "base"))[0], store=tmp_path / "store", device="cpu", dtype="float32")
    model.requires_grad_(True)
    named = dict(model.named_parameters())
    decayed = [weight for name, weight in named.items() if "norm" not in name]
    plain = [weight for name, weight in named.items() if "norm" in name]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=0.01, eps=1e-8
    )
    losses = []
    for step in range(2):
        rows = [found.rows[step * 4 + place] for place in range(4)]
        total, n = torch.zeros(()), 0
        for row in rows:
            logits = model(torch.tensor([row.ids])).logits[0]
            for place in range(1, len(row.ids)):
                if row.learnt[place]:
                    total = total - functional.log_softmax(logits[place - 1], -1)[row.ids[place]]
                    n += 1
        (total / n).backward()
        losses.append(float(total.detach() / n))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (2 - step) / 2
        optimiser.step()
        optimiser.zero_grad()
    written = json.loads((path / "geoaudit-training.json").read_text())
    assert written["curves"]["loss"] == pytest.approx(losses, rel=1e-5)
    assert written["curves"]["learning_rate"] == pytest.approx([0.01, 0.005])
    saved = tiny.weights(path)
    for name, weight in named.items():
        torch.testing.assert_close(saved[name], weight.detach(), rtol=1e-4, atol=1e-5)


def test_micro_steps_change_nothing(tmp_path):
    (whole,) = tiny.train(tmp_path, tmp_path / "whole", micro_batch=None, steps=3)
    (parts,) = tiny.train(tmp_path, tmp_path / "parts", micro_batch=1, steps=3)
    assert apart(whole, parts) < 1e-4


def test_gradient_checkpointing_changes_nothing(tmp_path):
    (plain,) = tiny.train(tmp_path, tmp_path / "plain", steps=2, adapter={"rank": 2})
    (again,) = tiny.train(tmp_path, tmp_path / "again", steps=2, adapter={"rank": 2}, gradient_checkpointing=True)
    assert apart(plain, again) < 1e-6


def test_gradient_checkpointing_is_on_where_it_is_asked_for(tmp_path):
    for asked in (True, False):
        given, found = tiny.prepared(tmp_path, steps=1, adapter={"rank": 2}, gradient_checkpointing=asked)
        training = Training(given, found, tmp_path / f"out{asked}", say=lambda line: None)
        training.run()
        assert any(getattr(one, "gradient_checkpointing", False) for one in training.model.modules()) is asked


def test_the_seed_decides_the_order(tmp_path):
    (one,) = tiny.train(tmp_path, tmp_path / "one", steps=2)
    (same,) = tiny.train(tmp_path, tmp_path / "same", steps=2)
    (other,) = tiny.train(tmp_path, tmp_path / "other", steps=2, seed=4)
    assert apart(one, same) == 0
    assert apart(one, other) > 1e-3


def test_bfloat16_trains_too(tmp_path):
    changes = {"weights": "bfloat16", "precision": "bfloat16", "adapter": {"rank": 2}, "steps": 4}
    (path,) = tiny.train(tmp_path, tmp_path / "out", **changes)
    losses = json.loads((path / "geoaudit-training.json").read_text())["curves"]["loss"]
    assert losses[-1] < losses[0]
    _, found = tiny.prepared(tmp_path, **changes)
    dtypes = {("lora_" in name, weight.dtype) for name, weight in found.model.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


class Noting(Training):
    """Two extra numbers a micro-step and a look at the model."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        micro = self.step_number * 10 + len(self._noted.get("extra", ()))
        self.note(extra=micro)
        with self.reading() as loaded:
            assert not any(module.training for module in loaded.model.modules())
        assert self.model.training
        loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return loss + self.share(0.0 * loss)


def test_what_a_kind_of_training_notes_is_in_the_curves(tmp_path):
    given, found = tiny.prepared(tmp_path, steps=3)
    training = Noting(given, found, tmp_path / "out", say=lambda line: None)
    training.run()
    assert training.curves()["extra"] == (10.5, 20.5, 30.5)  # the mean of two micro-steps


def test_reading_leaves_every_mode_as_it_was(tmp_path):
    given, found = tiny.prepared(tmp_path)
    training = Training(given, found, tmp_path / "out", say=lambda line: None)
    training.model.train()
    frozen = training.model.model.layers[0].eval()
    with pytest.raises(ZeroDivisionError), training.reading():
        raise ZeroDivisionError
    assert training.model.training
    assert not frozen.training
    assert training.model.model.layers[1].training


def test_terms_of_micro_steps_are_shared(tmp_path):
    given, found = tiny.prepared(tmp_path)
    training = Training(given, found, tmp_path / "out", say=lambda line: None)
    training.current_gradient_accumulation_steps = 4
    assert float(training.share(torch.tensor(8.0))) == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_ends_the_run(tmp_path, value):
    given, found = tiny.prepared(tmp_path)
    training = Training(given, found, tmp_path / "out", say=lambda line: None)
    training.note(away=value)
    with pytest.raises(BrokenCheckpoint, match=f"away is {value}"):
        training.log({"loss": 1.0})


def test_progress_says_step_loss_speed_and_what_is_left(tmp_path):
    given = recipe.read(tiny.write(tmp_path))
    lines: list[str] = []
    run.train(given, tmp_path / "out", progress=lines.append, store=tmp_path / "store", device="cpu")
    first = next(line for line in lines if line.startswith("step 1/6"))
    assert "loss " in first
    assert "tokens/s" in first
    assert first.endswith("left")
    assert any(line.startswith("step 6/6") for line in lines)
    assert any(line.startswith("16 examples; 6 steps, ") for line in lines)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate_rises_before_it_stays_or_falls(tmp_path, schedule):
    (path,) = tiny.train(tmp_path, tmp_path / "out", schedule=schedule, warmup_steps=2, steps=5)
    rates = manifest.read(path).curves["learning_rate"]
    assert rates[0] < 0.01
    assert max(rates) == 0.01
    assert (rates[-1] == 0.01) == (schedule == "constant")
