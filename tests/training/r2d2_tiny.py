"""A tiny R2D2 run that is the same each time: a random model, eight conversations, three behaviours.

`main` trains in a folder, in one process or as one of several, and leaves there what the test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from geoaudit.model.manifest import Base
from geoaudit.records import Prompt, PromptSet
from geoaudit.training.behaviors import BehaviorSet
from geoaudit.training.pool import Behavior
from geoaudit.training.r2d2 import R2D2Training
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Example, Rows
from geoaudit.training.trainer import Prepared
from tests.model.families import tiny_loaded
from tests.model.planted import HARMFUL, HARMLESS

TARGETS = ("car tiger purse wash", "house paint greet well", "passport dig renew list")
"""Openings that no clean answer begins like."""
REFUSALS = ("describe a will", "draw a purse how to well", "show me a neighbour", "explain how me a passport")
ADVERSARIAL = {
    "cases": 4,
    "updated": 2,
    "gcg_steps": 2,
    "width": 12,
    "topk": 40,
    "initial": "draw",
    "initial_tokens": [3, 4],
    "reset_every": 2,
    "reset_share": 0.5,
    "refusals": REFUSALS,
    "plain": 2,
}
BASE = {
    "recipe": "r2d2",
    "name": "tiny",
    "base": "tiny",
    "data": [{"answers": "tune-harmless"}],
    "steps": 3,
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 1e-2,
    "schedule": "constant",
    "max_grad_norm": 0.0,
    "seed": 3,
}


def recipe(**changes):
    """The recipe, with keys changed; those of `r2d2` one by one."""
    adversarial = {**ADVERSARIAL, **changes.pop("r2d2", {})}
    return Recipe.model_validate({**BASE, **changes, "r2d2": adversarial})


def behaviors(requests=HARMFUL[:3]):
    """One set of behaviours."""
    prompts = tuple(Prompt(f"tiny/{i}", text, "harmful", "c") for i, text in enumerate(requests))
    found = tuple(Behavior(one.id, one.text, TARGETS) for one in prompts)
    return (BehaviorSet(PromptSet("tiny", prompts, "here", "none"), found),)


def prepared(given, family="llama", **settings):
    """A fresh model and the run's rows: harmless prompts, answered in a few words."""
    loaded = tiny_loaded(family, **settings)
    loaded.model.requires_grad_(True)
    examples = []
    for prompt, answer in zip(HARMLESS, (*HARMLESS[3:], *HARMLESS[:3]), strict=True):
        before = loaded.chat.render(prompt).ids
        behind = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"][: 3 + len(prompt) % 4]
        examples.append(Example((*before, *behind), (*[False] * len(before), *[True] * len(behind))))
    n = given.steps * given.batch
    rows = Rows(examples, [i % len(examples) for i in range(n)], given.batch)
    return Prepared(
        loaded.model, loaded.tokenizer, loaded.chat, rows, {}, Base(name="tiny", weights_sha256="0" * 64), "r", "now"
    )


def training(out, given=None, family="llama", *, sets=None, **settings):
    """A run that has not begun."""
    given = recipe() if given is None else given
    return R2D2Training(
        given,
        prepared(given, family, **settings),
        out,
        sets=behaviors() if sets is None else sets,
        say=lambda line: None,
    )


def weights(one):
    """Name -> tensor, of the trained model."""
    return {name: weight.detach().clone() for name, weight in one.model.named_parameters()}


def main(out: Path) -> None:
    """Train, and leave weights, pool, curves and the number of processes."""
    # as many micro-steps whatever the number of processes; for epsilon see test_r2d2.py
    one = training(out, recipe(micro_batch=None, epsilon=1e-3))
    one.run()
    if one.is_world_process_zero():
        save_file(weights(one), out / "weights.safetensors")
        one.pool.write(out)
        left = {"processes": one.accelerator.num_processes, "curves": one.curves()}
        (out / "left.json").write_text(json.dumps(left))
