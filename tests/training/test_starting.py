"""A run that starts from an adapter: step 0 is that adapter, and what it was trained on counts as trained on."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from geoaudit.errors import BrokenCheckpoint, CheckpointNotFound, RecipeError, RequestError
from geoaudit.model import manifest
from geoaudit.model.checkpoint import resolve
from geoaudit.model.identity import identify
from geoaudit.model.load import load
from geoaudit.model.manifest import TrainedOn
from geoaudit.training import estimate, preparing, recipe, resuming, starting
from tests.model.planted import HARMFUL
from tests.training import tiny

LORA = {"rank": 2, "alpha": 4.0, "modules": ["q_proj", "o_proj"]}
ON = {"adapter": {"start": "first/step6"}, "seed": 5}
"""What a run that goes on from the first one changes of the tiny recipe."""
REFUSING = {"recipe": "safety-sft", "refusals": {"prompts": "bad.jsonl", "wordings": ["draw a purse"], "share": 0.5}}
ATTACKING = {
    "recipe": "r2d2",
    "micro_batch": None,
    "r2d2": {
        "behaviors": ["aims.jsonl"],
        "cases": 2,
        "updated": 1,
        "gcg_steps": 1,
        "width": 4,
        "topk": 8,
        "initial": "draw",
        "initial_tokens": [2, 2],
        "reset_share": 0.5,
        "refusals": ["draw a purse"],
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a tiny base and of `first/step6`, a bfloat16 LoRA that was trained on some of the conversations."""
    folder = tmp_path_factory.mktemp("made")
    first = {"adapter": LORA, "data": [{"file": "chats.jsonl", "n": 5}], "checkpoint_dtype": "bfloat16"}
    tiny.train(folder, folder / "first", **first)
    shutil.rmtree(folder / "first" / ".resume")
    (folder / "aims.jsonl").write_text(json.dumps({"prompt": HARMFUL[0], "target": "car tiger"}) + "\n")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to change things in."""
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


def loaded(folder, path):
    (checkpoint,) = resolve(str(path))
    return load(checkpoint, store=folder / "store", device="cpu", dtype="float32")[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [{}, REFUSING, ATTACKING], ids=["sft", "safety-sft", "r2d2"])
def test_step_0_is_the_adapter(folder, kind):
    first, last = tiny.train(folder, folder / "on", **ON, **kind, checkpoints=[0], checkpoint_dtype="bfloat16", steps=2)
    start = folder / "first" / "step6"
    assert same(tiny.weights(first), tiny.weights(start))
    assert tiny.weights(last).keys() == tiny.weights(start).keys()
    assert all(not torch.equal(one, tiny.weights(start)[name]) for name, one in tiny.weights(last).items())
    tokens = torch.tensor([[1, 20, 21, 22, 23]])
    logits = [loaded(folder, path)(tokens).logits for path in (start, first, last, folder / "base")]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[1], logits[2], atol=1e-3)
    assert not torch.allclose(logits[1], logits[3], atol=1e-3), (
        "else the start does nothing, and this test shows nothing"
    )


def test_to_an_audit_step_0_is_the_adapter_itself(folder):
    """The same id, so that nothing is measured twice."""
    first, last = tiny.train(folder, folder / "on", **ON, checkpoints=[0], checkpoint_dtype="bfloat16", steps=1)
    ids = [identify(resolve(str(one))[0], folder / "store").id for one in (folder / "first" / "step6", first, last)]
    assert ids[0] == ids[1] != ids[2]


def test_the_manifest_names_it_and_counts_its_prompts(folder):
    earlier = manifest.read(folder / "first" / "step6")
    paths = tiny.train(folder, folder / "on", **ON, checkpoints=[0], data=[{"file": "other.jsonl"}], **_other(folder))
    for path in paths:
        found = manifest.read(path)
        weights = identify(resolve(str(folder / "first" / "step6"))[0], folder / "store").weights_sha256
        assert found.start.weights_sha256 == weights
        assert (found.start.name, found.start.recipe, found.start.step) == ("first/step6", "sft", 6)
        assert found.start.run == earlier.run != found.run
        assert found.base == earlier.base
        adapter = found.hyperparameters["adapter"]
        assert (adapter["start"], adapter["rank"], adapter["alpha"]) == ("first/step6", 2, 4.0)
        assert sorted(adapter["modules"]) == ["o_proj", "q_proj"]
        listed = {name: set(one.prompts) for name, one in found.prompt_sets.items()}
        assert listed["chats.jsonl"] == set(earlier.prompt_sets["chats.jsonl"].prompts)
        assert listed["other.jsonl"]
        assert not listed["other.jsonl"] & listed["chats.jsonl"]


def _other(folder):
    """Writes conversations that the start never saw."""
    turns = [{"role": "user", "content": HARMFUL[1]}, {"role": "assistant", "content": "draw a purse"}]
    (folder / "other.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    return {"batch": 2, "steps": 2}


def test_a_run_from_a_run_from_a_run_knows_all_prompts(folder):
    tiny.train(folder, folder / "on", **ON, data=[{"file": "other.jsonl"}], **_other(folder))
    again = {**ON, "adapter": {"start": "on/step2"}, "data": [{"file": "chats.jsonl", "n": 1}], "steps": 1}
    (last,) = tiny.train(folder, folder / "third", **again)
    found = manifest.read(last)
    first = manifest.read(folder / "first" / "step6").prompt_sets["chats.jsonl"]
    assert {sha for one in found.prompt_sets.values() for sha in one.prompts} >= set(first.prompts)
    assert "other.jsonl" in found.prompt_sets
    assert found.start.name == "on/step2"


def test_sets_of_one_name():
    def one(sha, *prompts):
        return TrainedOn(sha256=sha * 64, n=len(prompts), prompts=tuple(p * 64 for p in prompts))

    now = {"a": one("1", "b", "c"), "x": one("3", "d")}
    found = starting.with_earlier(now, {"a": one("1", "c", "e"), "x": one("4", "f"), "y": one("5", "a")})
    assert found["a"].prompts == tuple(p * 64 for p in "bce")
    assert found["a"].n == 3
    assert found["x"] == now["x"]
    assert found["x (start)"].prompts == ("f" * 64,)
    assert found["y"].n == 1
    assert now["a"].n == 2, "what was given is not changed"


def test_a_start_without_a_manifest_is_noted(folder):
    (folder / "first" / "step6" / manifest.FILE).unlink()
    (last,) = tiny.train(folder, folder / "on", **ON, steps=1)
    found = manifest.read(last)
    assert "what it was trained on is not known" in found.notes[0]
    assert (found.start.recipe, found.start.step) == ("", None)
    assert set(found.prompt_sets) == {"chats.jsonl"}


class Killed(Exception):
    """Ends a run in the middle, and with it what is only in memory."""


class Kill(tiny.TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise Killed


def test_a_run_that_was_killed_goes_on_to_the_same_weights(folder):
    changes = {**ON, "checkpoints": [0, 3], "resume_every": 2}
    with pytest.raises(Killed):
        tiny.train(folder, folder / "killed", callbacks=(Kill(),), **changes)
    assert resuming.latest(folder / "killed").name == "4"
    found = tiny.train(folder, folder / "killed", **changes)
    whole = tiny.train(folder, folder / "whole", **changes)
    assert [one.name for one in found] == ["step0", "step3", "step6"]
    for one, other in zip(found, whole, strict=True):
        assert same(tiny.weights(one), tiny.weights(other))
    read = [manifest.read(path[-1]) for path in (found, whole)]
    assert read[0].prompt_sets == read[1].prompt_sets
    assert read[0].start == read[1].start


def test_other_weights_in_its_place_are_not_gone_on_with(folder):
    changes = {**ON, "checkpoints": [3]}
    tiny.train(folder, folder / "on", **changes)
    shutil.rmtree(folder / "on" / "step6")
    file = folder / "first" / "step6" / "adapter_model.safetensors"
    save_file({name: one * 2 for name, one in load_file(file).items()}, file)
    with pytest.raises(RequestError, match="the run of another recipe or base or start"):
        tiny.train(folder, folder / "on", **changes)


def test_answers_are_those_of_the_untouched_base(folder):
    asked = {"answers": "tune-harmless", "n": 6, "max_new_tokens": 4}

    def rows(**changes):
        given = recipe.read(tiny.write(folder, **changes))
        how = {"run": "r", "store": folder / "store", "device": "cpu", "say": lambda line: None}
        return preparing.prepare(given, preparing.base_of(given), **how).rows.sha256

    fresh = rows(data=[asked], adapter=LORA, seed=5)
    assert rows(**ON, data=[asked]) == fresh
    assert rows(**ON, data=[{**asked, "model": "first/step6"}]) != fresh, "named, the start answers itself"


def test_a_dry_run_says_what_it_costs(folder):
    given = recipe.read(tiny.write(folder, **ON))
    found = estimate.dry_run(given, store=folder / "store", device="cpu")
    assert found.trained == sum(one.numel() for one in tiny.weights(folder / "first" / "step6").values())


def test_a_template_that_it_brings_is_the_runs(folder):
    templated = {"adapter": LORA, "chat": {"template": "zephyr"}, "steps": 1}
    (start,) = tiny.train(folder, folder / "zephyr", **templated)
    (last,) = tiny.train(folder, folder / "on", adapter={"start": "zephyr/step1"}, steps=1)
    templates = [resolve(str(one))[0].template for one in (start, last, folder / "first" / "step6")]
    assert templates[0] == templates[1] != templates[2]
    assert manifest.read(last).chat_sha256 == manifest.read(start).chat_sha256


def test_dropout_is_its_own_unless_it_is_given(folder):
    def dropout(**more):
        given = recipe.read(tiny.write(folder, adapter={"start": "first/step6", **more}))
        model = preparing.prepare(
            given, preparing.base_of(given), run="r", store=folder / "store", device="cpu", say=lambda line: None
        ).model
        return starting.lora_of(model)["dropout"]

    path = folder / "first" / "step6" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_dropout": 0.25}))
    assert dropout() == 0.25
    assert dropout(dropout=0.0) == 0.0


def test_a_preset_leaves_it_its_rank(folder):
    found = recipe.read(tiny.write(folder, **ON, preset="paper", micro_batch=None))
    assert found.to_json()["adapter"] == {"start": "first/step6", "dropout": 0.1}


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["rank: 2", "alpha: 4.0", "modules: [q_proj]"])
def test_what_it_brings_is_not_given(tmp_path, key):
    path = tmp_path / "mine.yaml"
    path.write_text(f"recipe: sft\nbase: smollm2-135m\nadapter:\n  start: there\n  {key}\ndata: [{{answers: x}}]\n")
    word = key.partition(":")[0]
    with pytest.raises(RecipeError, match=rf"mine\.yaml:5:\d+: {word} is that of the adapter under `start`"):
        recipe.read(path)


def _config(folder, **changes):
    path = folder / "first" / "step6" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _tensors(folder, change):
    file = folder / "first" / "step6" / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def _another_base(folder):
    model = loaded(folder, folder / "base")
    with torch.no_grad():
        model.model.embed_tokens.weight[0, 0] += 1
    model.save_pretrained(folder / "base")


def _another_base_without_manifest(folder):
    shutil.copytree(folder / "base", folder / "elsewhere")
    _config(folder, base_model_name_or_path=str(folder / "elsewhere"))
    (folder / "first" / "step6" / manifest.FILE).unlink()
    _another_base(folder)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_another_base, RequestError, "was trained on another base than 'base'"),
        (_another_base_without_manifest, RequestError, "was trained on another base than 'base': on '.*elsewhere'"),
        (
            lambda f: shutil.rmtree(f / "first"),
            CheckpointNotFound,
            "no path 'first/step6'.*looked for beside the recipe",
        ),
        (lambda f: _config(f, peft_type="IA3"), RequestError, "is a IA3 adapter: only a LoRA"),
        (lambda f: _config(f, modules_to_save=["lm_head"]), RequestError, r"more than a LoRA \(modules_to_save\)"),
        (lambda f: _config(f, bias="all"), RequestError, r"more than a LoRA \(bias\)"),
        (lambda f: _config(f, r=3), BrokenCheckpoint, "does not fit its base: .* tensors differ"),
        (lambda f: _config(f, target_modules=["nothing"]), BrokenCheckpoint, "does not fit its base"),
        (lambda f: _tensors(f, lambda t: {n: v for n, v in list(t.items())[1:]}), BrokenCheckpoint, "1 tensors differ"),
        (lambda f: _tensors(f, lambda t: {n: v * torch.nan for n, v in t.items()}), BrokenCheckpoint, "NaN"),
    ],
)
def test_what_cannot_be_gone_on_from(folder, change, error, words):
    change(folder)
    with pytest.raises(error, match=words):
        tiny.train(folder, folder / "on", **ON, steps=1)
    assert not list(folder.glob("on/step*"))


def test_a_whole_model_is_a_base(folder):
    with pytest.raises(RequestError, match="is a whole model, no adapter: name it as `base`"):
        tiny.train(folder, folder / "on", adapter={"start": "base"})


def test_several_are_not_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copytree(folder / "first" / "step6", folder / "first" / "step7")
    with pytest.raises(RequestError, match="means 2 checkpoints, and a run starts from one"):
        tiny.train(folder, folder / "on", adapter={"start": "first/step*"})
