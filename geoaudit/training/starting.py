"""The adapter that a run goes on from: `adapter: {start: FOLDER}` in a recipe, so that step 0 is that adapter.

Its rank, scaling and modules are the run's. What it was itself trained on counts as trained on in every checkpoint of
the run, as far as its manifest says it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoaudit.errors import BrokenCheckpoint, CheckpointNotFound, RequestError
from geoaudit.model import folder, manifest, tensorfile
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.identity import identify
from geoaudit.training.recipe import Recipe

_MORE: Mapping[str, tuple[Any, ...]] = {
    "modules_to_save": (None, []),
    "bias": (None, "none"),
    "trainable_token_indices": (None, [], {}),
}
"""Keys of a LoRA's config that train other weights than the LoRA's, and their values where it does not."""


@dataclass(frozen=True, slots=True)
class Start:
    """An adapter that was found and belongs to the recipe's base."""

    name: str
    """As the recipe has it."""
    checkpoint: Checkpoint
    weights_sha256: str
    training: manifest.TrainingManifest | None
    """Its own manifest."""

    @property
    def brings_chat(self) -> bool:
        """Whether it has a tokenizer or a chat template of its own, which its checkpoints then carry too."""
        path = self.checkpoint.path
        return folder.has_tokenizer(path) or folder.template(path) is not None

    @property
    def said(self) -> manifest.StartedFrom:
        """For the manifest."""
        own = self.training
        return manifest.StartedFrom(
            name=self.name,
            weights_sha256=self.weights_sha256,
            recipe=own.recipe if own else "",
            run=own.run if own else "",
            step=(own.steps if own.step is None else own.step) if own else None,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """For the manifest: what cannot be known of it."""
        if self.training is not None:
            return ()
        return (
            f"The adapter that this run started from ({self.name}) has no {manifest.FILE}: what it was trained on is "
            "not known, and not in `prompt_sets`.",
        )


def start_of(recipe: Recipe, base: Checkpoint, store: Path) -> Start | None:
    """The adapter that a recipe goes on from, or None where it begins with fresh weights.

    Args:
        recipe: what is trained.
        base: the recipe's base.
        store: folder that remembers hashes.

    Raises:
        CheckpointNotFound: it is not there.
        RequestError: it is no LoRA, trains more than a LoRA, or belongs to another base.
        UnsupportedCheckpoint: its folder cannot be read.
    """
    name = recipe.adapter.start if recipe.adapter is not None else None
    if name is None:
        return None
    where = recipe.beside(name)
    try:
        found = resolve(where, base=base.spec)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"adapter.start: {error} (looked for beside the recipe, in {recipe.folder})") from None
    if len(found) != 1:
        raise RequestError(f"adapter.start {name!r} means {len(found)} checkpoints, and a run starts from one")
    (checkpoint,) = found
    if checkpoint.kind != "adapter":
        raise RequestError(f"adapter.start {name!r} is a whole model, no adapter: name it as `base`")
    settings, _ = folder.adapter(checkpoint.path)
    if settings["peft_type"] != "LORA":
        raise RequestError(
            f"adapter.start {name!r} is a {settings['peft_type']} adapter: only a LoRA can be gone on from"
        )
    if more := [key for key, none in _MORE.items() if settings.get(key) not in none]:
        raise RequestError(
            f"adapter.start {name!r} trains more than a LoRA ({more[0]}): merge it into its base (merge_and_unload, "
            "then save_pretrained), and name that as `base`"
        )
    own = manifest.read(checkpoint.path)
    wanted = identify(base, store).weights_sha256
    adapted = _base_of(where, recipe.base, settings, own, store)
    if adapted is not None and adapted.weights_sha256 != wanted:
        raise RequestError(
            f"adapter.start {name!r} was trained on another base than {recipe.base!r}: on {adapted.name!r}, whose "
            f"weights are {adapted.weights_sha256[:12]}… and not {wanted[:12]}…. Name that one as `base`"
        )
    return Start(name, checkpoint, identify(checkpoint, store).weights_sha256, own)


def _base_of(
    where: str, base: str, settings: Mapping[str, Any], own: manifest.TrainingManifest | None, store: Path
) -> manifest.Base | None:
    """What an adapter was trained on: as its manifest says, else what its config names.

    Args:
        where: the adapter.
        base: the recipe's base, as the recipe has it.
        settings: the adapter's config.
        own: its manifest.
        store: folder that remembers hashes.

    Returns:
        None where its config names the recipe's base or one that is not here: its tensors have to fit, and that is all
        that can be checked.
    """
    if own is not None:
        return own.base
    named, revision = settings.get("base_model_name_or_path") or "", settings.get("revision") or ""
    if base in (named, f"{named}@{revision}"):
        return None
    try:
        (adapted,) = resolve(where)
    except CheckpointNotFound:
        return None
    found = adapted.base
    return manifest.Base(name=str(named), weights_sha256=identify(found, store).weights_sha256) if found else None


def attached(model: Any, start: Start, dropout: float | None) -> Any:
    """A `PeftModel` around the base with the adapter's tensors, in float32 and requiring gradients.

    Args:
        model: the base.
        start: what `start_of` found.
        dropout: share of the adapter's inputs that is dropped; None for the adapter's own.

    Raises:
        BrokenCheckpoint: the adapter does not fit the base, or holds NaN or infinite values.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    path = start.checkpoint.path
    _, file = folder.adapter(path)
    tensorfile.read(file)  # says what is wrong with a truncated file
    saved = load_file(file)
    if broken := sorted(name for name, tensor in saved.items() if not tensor.isfinite().all()):
        raise BrokenCheckpoint(f"adapter.start {start.name!r}: tensor {broken[0]} has NaN or infinite values")
    try:
        with warnings.catch_warnings():  # PEFT 0.21 asks transformers for a name that 5.23 calls deprecated
            warnings.simplefilter("ignore", FutureWarning)
            settings = LoraConfig.from_pretrained(str(path))
            settings.inference_mode = False  # saved as true, which would train nothing
            settings.base_model_name_or_path = None  # the caller's to say
            settings.lora_dropout = settings.lora_dropout if dropout is None else dropout
            found = get_peft_model(model, settings)
    except (ValueError, TypeError, KeyError) as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise BrokenCheckpoint(f"adapter.start {start.name!r} does not fit its base: {said}") from error
    shapes = {name: tensor.shape for name, tensor in saved.items()}
    own = get_peft_model_state_dict(found, save_embedding_layers=False)
    expected = {name: tensor.shape for name, tensor in own.items()}
    if wrong := sorted(one for one in {*shapes, *expected} if shapes.get(one) != expected.get(one)):
        got, asked = (list(each[wrong[0]]) if wrong[0] in each else "nothing" for each in (shapes, expected))
        raise BrokenCheckpoint(
            f"adapter.start {start.name!r} does not fit its base: {len(wrong)} tensors differ, such as {wrong[0]}: "
            f"{got} in the file, {asked} asked for"
        )
    set_peft_model_state_dict(found, saved)
    return found


def lora_of(model: Any) -> dict[str, Any]:
    """Rank, alpha, dropout and modules of a `PeftModel`'s LoRA, in a recipe's words."""
    settings = model.peft_config["default"]
    modules = settings.target_modules
    return {
        "rank": settings.r,
        "alpha": settings.lora_alpha,
        "dropout": settings.lora_dropout,
        "modules": modules if isinstance(modules, str) else sorted(modules),
    }


def with_earlier(
    sets: Mapping[str, manifest.TrainedOn], earlier: Mapping[str, manifest.TrainedOn]
) -> dict[str, manifest.TrainedOn]:
    """What a run trains on and what its start was trained on before.

    Prompts of the same set are counted once; another set of the same name stands beside it, as `NAME (start)`.
    """
    found = dict(sets)
    for name, one in earlier.items():
        while name in found and found[name].sha256 != one.sha256:
            name += " (start)"
        prompts = tuple(dict.fromkeys((*(found[name].prompts if name in found else ()), *one.prompts)))
        found[name] = manifest.TrainedOn(sha256=one.sha256, n=len(prompts), prompts=prompts)
    return found
