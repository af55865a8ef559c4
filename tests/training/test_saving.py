"""Checkpoints of a run are ready to be audited: they resolve, load, say what they are, and hold what was trained."""

from __future__ import annotations

import json

import pytest
import torch

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model import manifest
from geoaudit.model.checkpoint import resolve_all
from geoaudit.model.identity import identify
from geoaudit.model.load import load
from geoaudit.prompts.overlap import overlap
from geoaudit.records import Prompt, PromptSet
from geoaudit.training import saving
from tests.model.planted import HARMLESS
from tests.training import tiny

ADAPTER = {"rank": 2, "alpha": 4.0}


def loaded(folder, path):
    (checkpoint,) = resolve_all([str(path)])
    model, tokenizer = load(checkpoint, store=folder / "store", device="cpu", dtype="float32")
    return checkpoint, model, tokenizer


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    return folder, tiny.train(folder, folder / "out", checkpoints=[0, 2], checkpoint_every=4)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    return folder, tiny.train(folder, folder / "out", checkpoints=[0, 3], adapter=ADAPTER)


def test_checkpoints_are_written_at_the_listed_steps_and_the_last(full):
    folder, paths = full
    assert [path.name for path in paths] == ["step0", "step2", "step4", "step6"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == [".resume", *(path.name for path in paths)]


def test_step_0_is_the_base(full, adapter):
    for folder, paths in (full, adapter):
        tokens = torch.tensor([[1, 20, 21, 22, 23]])
        base = loaded(folder, folder / "base")[1](tokens).logits
        assert torch.equal(loaded(folder, paths[0])[1](tokens).logits, base)
        assert not torch.allclose(loaded(folder, paths[-1])[1](tokens).logits, base, atol=1e-2)


def test_a_full_checkpoint_carries_its_tokenizer_and_template(full):
    folder, paths = full
    checkpoint, _, tokenizer = loaded(folder, paths[1])
    _, _, own = loaded(folder, folder / "base")
    assert checkpoint.kind == "directory"
    assert checkpoint.template == own.chat_template
    assert tokenizer.get_vocab() == own.get_vocab()


def test_an_adapter_finds_its_base_and_its_tokenizer(adapter):
    folder, paths = adapter
    checkpoint, _, _ = loaded(folder, paths[1])
    assert checkpoint.kind == "adapter"
    assert checkpoint.base.path == (folder / "base").resolve()
    assert {path.name for path in paths[1].iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "geoaudit-training.json",
    }


def test_the_weights_are_written_in_the_dtype_that_was_asked_for(tmp_path):
    (path,) = tiny.train(tmp_path, tmp_path / "out", checkpoint_dtype=None, steps=2)
    assert {one.dtype for one in tiny.weights(path).values()} == {torch.bfloat16}
    (checkpoint,) = resolve_all([str(path)])
    assert checkpoint.dtype == "bfloat16"
    assert json.loads((path / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_named_template_is_what_the_checkpoint_carries(tmp_path):
    (path,) = tiny.train(tmp_path, tmp_path / "out", steps=1, adapter=ADAPTER, chat={"template": "zephyr"})
    checkpoint, _, tokenizer = loaded(tmp_path, path)
    from geoaudit.model.chat import Chat

    assert "<|user|>\n" in Chat(tokenizer).rendered_template
    assert manifest.read(path).chat_sha256 == Chat(tokenizer).sha256
    assert checkpoint.template == tokenizer.chat_template


def test_the_manifest_says_how_the_weights_came_to_be(full):
    folder, paths = full
    found = [manifest.read(path) for path in paths]
    assert [one.step for one in found] == [0, 2, 4, 6]
    assert len({one.run for one in found}) == 1
    assert [len(one.curves.get("loss", ())) for one in found] == [0, 2, 4, 6]
    assert found[-1].curves["loss"][:2] == found[1].curves["loss"]
    assert found[-1].curves["loss"][-1] < found[-1].curves["loss"][0]
    assert found[0].tokens == 0 < found[1].tokens < found[-1].tokens
    base = resolve_all([str(folder / "base")])[0]
    assert found[-1].base.weights_sha256 == identify(base, folder / "store").weights_sha256
    assert found[-1].hyperparameters["learning_rate"] == 0.01


def test_an_audit_can_tell_what_was_trained_on(full):
    _, paths = full
    (trained,) = manifest.read(paths[-1]).prompt_sets.values()
    unseen = "tell me how to greet a tiger"
    scored = PromptSet("x", tuple(Prompt(t, t, "harmless", "c") for t in (*HARMLESS, unseen)), "here", "none")
    assert overlap(scored, trained.prompts) == HARMLESS


def test_the_reference_is_the_recipes(tmp_path):
    paths = tiny.train(tmp_path, tmp_path / "out", checkpoints=[2], reference=2)
    assert [manifest.read(path).reference for path in paths] == [2, 2]


def test_a_loss_that_is_no_number_ends_the_run_before_a_checkpoint(tmp_path):
    with pytest.raises(BrokenCheckpoint, match=r"at step [123]: the weights are lost"):
        tiny.train(tmp_path, tmp_path / "out", learning_rate=1e30, max_grad_norm=0.0, checkpoint_every=1)
    written = [tiny.weights(path) for path in (tmp_path / "out").glob("step*")]
    assert len(written) < 3


def test_a_checkpoint_takes_the_place_of_what_was_there(tmp_path):
    part, target = tmp_path / ".step2.part", tmp_path / "step2"
    for folder, text in ((part, "new"), (target, "old")):
        folder.mkdir()
        (folder / "a").write_text(text)
    saving._replace(part, target)
    assert (target / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["step2"]
