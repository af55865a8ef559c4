"""A recipe is read with the place of every word; whatever is wrong says where, what was got and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from geoaudit.errors import RecipeError, RequestError
from geoaudit.training import recipe
from geoaudit.training.recipe import PRESETS, Recipe, read
from tests.tools import recipe_keys

RECIPES = sorted((Path(__file__).resolve().parents[2] / "examples" / "recipes").glob("*.yaml"))
SMALL = """\
recipe: safety-sft
base: smollm2-135m
adapter: {rank: 8, alpha: 16}
data:
  - answers: tune-harmless
    max_new_tokens: 40
learning_rate: 2.0e-3
schedule: linear
checkpoints: [0, 50]
"""


def parsed(folder: Path, text: str) -> Recipe:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def test_a_small_recipe(tmp_path):
    found = parsed(tmp_path, SMALL)
    assert found.name == "small"
    assert found.folder == tmp_path
    assert found.refusals.prompts == "tune-harmful"
    assert found.adapter.modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert found.learning_rate == 2e-3
    assert found.saved == (0, 50, 100)
    assert found.r2d2 is None


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("stepz: 3", "10:1", ["unknown key 'stepz'", "did you mean 'steps'"]),
        ("steps: 0", "10:8", ["steps", "greater than or equal to 1", "'0'"]),
        ("steps: 1\nsteps: 2", "11:1", ["'steps' is given twice"]),
        ("steps: [1]", "10:8", ["steps"]),
        ("batch: true", "10:8", ["batch is not true or false"]),
        ("batch: 6\nmicro_batch: 4", "10:8", ["batch (6) must be a multiple of micro_batch (4)"]),
        ("learning_rate: 2e-3", "10:16", ["must be a number", "write 1.0e-3"]),
        ("learning_rate: fast", "10:16", ["learning_rate", "'fast'"]),
        ("learning_rate: .nan", "10:16", ["plain decimals", "'.nan'"]),
        ("schedule: cosin", "10:11", ["unknown schedule 'cosin' (did you mean 'cosine'?)"]),
        ("preset: papier", "10:9", ["unknown preset 'papier'", "paper"]),
        ("adapter: {rang: 3}", "10:11", ["unknown key 'rang' in adapter (did you mean 'rank'?)"]),
        ("adapter: 3", "10:10", ["adapter must be a mapping", "'3'"]),
        ("data: [3]", "10:8", ["an entry of data must be a mapping", "'3'"]),
        ("data: []", "10:7", ["data"]),
        ("data: [{answers: a, file: b}]", "10:8", ["exactly one of file, ultrachat and answers", "file and answers"]),
        ("data: [{max_new_tokens: 4}]", "10:8", ["exactly one of", "got none"]),
        ("data: [{file: b, column: c}]", "10:26", ["column is read with `answers` only"]),
        ("data: [{ultrachat: train}]", "10:20", ["unknown ultrachat 'train'", "train_sft"]),
        ("r2d2: {}", "10:7", ["r2d2 belongs to recipe: r2d2, and this is safety-sft"]),
        ("warmup_steps: 200", "10:15", ["warmup_steps (200) must be fewer than steps (100)"]),
        ("checkpoints: [1, -2]", "10:18", ["greater than or equal to 0", "'-2'"]),
        ("checkpoints: [101]", "10:14", ["step 101", "ends at 100"]),
        ("reference: 3", "10:12", ["reference is step 3, at which no checkpoint is written"]),
        ("refusals: {wordings: ['']}", "10:23", ["an entry of wordings is blank"]),
        ("refusals: {share: 1}", "10:19", ["share", "less than 1"]),
        ("name: a b", "10:7", ["letters, digits, dots and dashes", "'a b'"]),
        ("base: &a x", "10:7", ["anchors", "not part of the grammar"]),
        ("seed: 0o17", "10:7", ["seed"]),
        ("chat: {template: 3}", "10:18", ["template"]),
        ("r2d2: {gcg_step: 4}", "10:8", ["unknown key 'gcg_step' in r2d2 (did you mean 'gcg_steps'?)"]),
        ("monitor: {evry: 4}", "10:11", ["unknown key 'evry' in monitor (did you mean 'every'?)"]),
        ("folder: x", "10:1", ["unknown key 'folder'"]),
    ],
)
def test_what_is_wrong_is_found_at_its_place(tmp_path, line, place, words):
    key = line.split(":")[0]
    kept = yaml.safe_load(SMALL)
    text = "\n".join(SMALL.splitlines()) if key not in kept else _without(key)
    filler = "\n" * (9 - text.count("\n") - 1)  # so that the line is the tenth
    with pytest.raises(RecipeError) as raised:
        parsed(tmp_path, f"{text}\n{filler}{line}\n")
    said = str(raised.value)
    assert said.startswith(f"{tmp_path / 'small.yaml'}:{place}: ")
    for word in words:
        assert word in said


def _without(key: str) -> str:
    lines, inside = [], False
    for line in SMALL.splitlines():
        inside = line.startswith(f"{key}:") or (inside and line.startswith(" "))
        if not inside:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize("text", ["", "- a", "base: x\nrecipe: [", "recipe: sft\nbase: x\x01"])
def test_what_is_no_recipe_at_all(tmp_path, text):
    with pytest.raises(RecipeError, match=r"small\.yaml:\d+:\d+: "):
        parsed(tmp_path, text)


def test_a_key_that_is_needed(tmp_path):
    with pytest.raises(RecipeError, match="the recipe has no key 'base'"):
        parsed(tmp_path, _without("base"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        read(tmp_path / "none.yaml")


def test_a_preset_gives_what_the_recipe_does_not(tmp_path):
    found = parsed(tmp_path, SMALL + "preset: paper\nsteps: 60\n")
    assert found.max_length == 2048
    assert found.loss == "all"
    assert found.steps == 60  # its own
    assert found.adapter.rank == 8  # its own, in a block
    assert found.adapter.dropout == 0.1  # the preset's, in the same block


def test_the_papers_settings():
    """arXiv 2604.27019: LoRA r 64, alpha 16, dropout .1 on q/k/v/o; 2e-5, cosine, no warm-up; 1 x 16; 2048; 500; 42."""
    found = Recipe.model_validate({"recipe": "sft", "preset": "paper", "base": "x", "data": [{"file": "y"}]})
    assert (found.adapter.rank, found.adapter.alpha, found.adapter.dropout) == (64, 16, 0.1)
    assert (found.learning_rate, found.schedule, found.warmup_steps) == (2e-5, "cosine", 0)
    assert (found.sequences, found.accumulation(1), found.max_length, found.steps) == (1, 16, 2048, 500)
    assert (found.seed, found.checkpoint_every, found.gradient_checkpointing) == (42, 5, True)
    assert all(key in Recipe.model_fields for key in PRESETS["paper"])


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "steps"),
    [(8, None, 1, 1), (8, 2, 1, 4), (8, 2, 2, 2), (8, None, 2, 1), (16, 1, 4, 4), (6, 2, 3, 1)],
)
def test_the_batch_is_shared_by_processes_and_micro_steps(batch, micro, processes, steps):
    given = {"recipe": "sft", "base": "x", "data": [{"file": "y"}], "batch": batch, "micro_batch": micro}
    assert Recipe.model_validate(given).accumulation(processes) == steps


@pytest.mark.parametrize(("batch", "micro", "processes"), [(8, None, 3), (2, 1, 4), (8, 4, 4), (12, 4, 2)])
def test_a_batch_that_cannot_be_shared(batch, micro, processes):
    given = {"recipe": "sft", "base": "x", "data": [{"file": "y"}], "batch": batch, "micro_batch": micro}
    with pytest.raises(RequestError, match=f"cannot be shared by {processes} processes"):
        Recipe.model_validate(given).accumulation(processes)


def test_the_hash_is_of_what_changes_the_weights(tmp_path):
    base = parsed(tmp_path, SMALL)
    same = ("name: x", "about: y", "checkpoint_every: 10", "resume_every: 3", "monitor: {every: 5}", "reference: 50")
    for line in same:
        assert parsed(tmp_path, f"{SMALL}{line}\n").sha256 == base.sha256
    for line in ("seed: 1", "steps: 99", "batch: 4", "loss: all", "refusals: {wordings: ['No.']}"):
        assert parsed(tmp_path, f"{SMALL}{line}\n").sha256 != base.sha256


def test_a_path_beside_the_recipe(tmp_path):
    (tmp_path / "model").mkdir()
    found = parsed(tmp_path, SMALL)
    assert found.beside("model") == str((tmp_path / "model").resolve())
    assert found.beside("smollm2-135m") == "smollm2-135m"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shipped_recipes_are_read(path):
    found = read(path)
    assert found.name == path.stem
    assert found.recipe in recipe.KINDS
    assert found.about
    assert path.name in recipe_keys.README.read_text(encoding="utf-8")


def test_the_papers_recipe_is_the_papers():
    found = read(next(path for path in RECIPES if path.stem == "mistral-7b-paper-sft"))
    assert found.preset == "paper"
    assert found.base == "mistralai/Mistral-7B-v0.1"
    assert (found.steps, found.batch, found.reference, len(found.saved)) == (500, 16, 5, 100)


def test_every_key_is_documented():
    text = recipe_keys.README.read_text(encoding="utf-8")
    assert recipe_keys.filled(text) == text, "run python tests/tools/recipe_keys.py"
    blocks = {Recipe} | recipe_keys.nested(Recipe)
    assert blocks == set(recipe_keys.BLOCKS.values())
    for block in blocks:
        for name, field in block.model_fields.items():
            assert name == "folder" or (field.description and f"| `{name}` |" in text)
