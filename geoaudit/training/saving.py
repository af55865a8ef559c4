"""Checkpoints that are ready to be audited: `OUT/step<N>/`, whole or not there.

An adapter in PEFT's form or a full model in safetensors, with the tokenizer where the base's would not do, and the
training manifest. Written under another name first and renamed, so that a kill leaves no half of one.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoaudit.model import folder, manifest
from geoaudit.model.quiet import no_progress_bars
from geoaudit.training import resuming
from geoaudit.training.starting import lora_of, with_earlier

if TYPE_CHECKING:
    from geoaudit.training.trainer import Training

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "geoaudit")


def path(out: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return out / f"step{step}"


def write(training: Training, step: int) -> Path:
    """Write the checkpoint of the weights as they are; every process calls it and all wait for the first.

    Returns:
        Its folder.
    """
    weights = _weights(training)
    target = path(training.out, step)
    if training.is_world_process_zero():
        part = training.out / f".{target.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with no_progress_bars():
            _write_model(training, weights, part)
        if _own_tokenizer(training):
            training.tokenizer.save_pretrained(part)
        manifest.write(_manifest(training, step), part)
        training.beside(part)
        _replace(part, target)
    training.accelerator.wait_for_everyone()
    return target


def _weights(training: Training) -> dict[str, torch.Tensor]:
    """Name -> tensor in `checkpoint_dtype`, on the CPU; gathered from all processes where they are sharded."""
    if training.is_deepspeed_enabled or training.is_fsdp_enabled:
        every = training.accelerator.get_state_dict(training.model_wrapped)
    else:
        every = training.model.state_dict()
    dtype = getattr(torch, training.recipe.checkpoint_dtype)
    return {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in every.items()
        if training.recipe.adapter is None or "lora_" in name
    }


def _write_model(training: Training, weights: dict[str, torch.Tensor], part: Path) -> None:
    model: Any = training.accelerator.unwrap_model(training.model)
    if training.recipe.adapter is not None:
        # without embeddings: they were not trained, and peft would look for the base on the hub to make sure
        model.save_pretrained(part, state_dict=weights, save_embedding_layers=False)
        (part / "README.md").unlink(missing_ok=True)  # peft's empty form
        return
    model.save_pretrained(part, state_dict=weights)
    settings = folder.read_json(part / folder.CONFIG)
    settings["dtype"] = training.recipe.checkpoint_dtype  # transformers writes what the model is held in
    (part / folder.CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _own_tokenizer(training: Training) -> bool:
    """Whether the base's tokenizer would not do, or is not beside an adapter's base."""
    recipe, start = training.recipe, training.prepared.start
    return recipe.adapter is None or recipe.chat.template is not None or (start is not None and start.brings_chat)


def _manifest(training: Training, step: int) -> manifest.TrainingManifest:
    recipe, prepared, start = training.recipe, training.prepared, training.prepared.start
    settings = {**recipe.to_json(), "processes": resuming.processes()}
    sets = dict(training.sets())
    if start is not None:
        model = training.accelerator.unwrap_model(training.model)
        settings["adapter"] = {"start": start.name, **lora_of(model)}
        sets = with_earlier(sets, start.training.prompt_sets if start.training is not None else {})
    return manifest.TrainingManifest(
        geoaudit_training=1,
        recipe=recipe.recipe,
        base=prepared.base,
        start=start.said if start is not None else None,
        steps=step,
        run=prepared.run,
        step=step,
        reference=recipe.reference,
        seed=recipe.seed,
        hyperparameters=settings,
        prompt_sets=sets,
        curves=training.curves(),
        tokens=prepared.rows.tokens(step),
        chat_sha256=prepared.chat.sha256,
        notes=training.notes(),
        versions={name: found for name in LIBRARIES if (found := _version(name))},
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _replace(part: Path, target: Path) -> None:
    """Put a folder in the place of another, which after a resume holds the same."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)
