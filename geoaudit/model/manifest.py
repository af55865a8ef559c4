"""The training manifest: what a training run leaves beside the checkpoint, and the audit reads.

`geoaudit-training.json` says how the weights came to be and, by hash, on which prompts they were trained, so that an
audit can tell a scored prompt that was trained on (validity check `train-eval-overlap`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from geoaudit.errors import UnsupportedCheckpoint

FILE = "geoaudit-training.json"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainedOn(_Closed):
    """One prompt set that was trained on."""

    sha256: Sha256
    """Hash of the set (`PromptSet.sha256`)."""
    n: int = Field(ge=1)
    prompts: tuple[Sha256, ...]
    """Hash of each prompt's text (`Prompt.sha256`); of a conversation, of each of the user's turns."""


class Base(_Closed):
    """The weights that training started from."""

    name: str
    weights_sha256: Sha256


class StartedFrom(_Closed):
    """The adapter that training went on from."""

    name: str
    weights_sha256: Sha256
    recipe: str = ""
    """What its own manifest says of it, here and below; empty where it has none."""
    run: str = ""
    step: int | None = Field(default=None, ge=0)


class TrainingManifest(_Closed):
    """Schema of the manifest, version 1."""

    geoaudit_training: Literal[1]
    recipe: str
    """Kind of training: sft, safety-sft, r2d2 or a name of the user's."""
    base: Base
    start: StartedFrom | None = None
    """The adapter on that base at step 0; None: fresh weights. `prompt_sets` holds what it was trained on too."""
    steps: int = Field(ge=0)
    """Optimiser steps taken."""
    run: str = ""
    """Id of the training run: checkpoints with the same one are a trajectory. Empty: the parent folder says so."""
    step: int | None = Field(default=None, ge=0)
    """Place in the run. None: the number that the folder's name ends in."""
    reference: int | None = Field(default=None, ge=0)
    """Step of the checkpoint that drift over the run is measured from. None: the first that is audited."""
    seed: int
    hyperparameters: dict[str, Any]
    prompt_sets: dict[str, TrainedOn]
    curves: dict[str, tuple[float | None, ...]] = {}
    """Name of a loss or of another number -> its value at steps 1, 2, … of the run; None where there was none."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens that were run through the model up to here, padding not counted, over all processes."""
    chat_sha256: str = ""
    """Hash of the rendered template that it was trained under (`Chat.sha256`), where one was."""
    notes: tuple[str, ...] = ()
    """What a reader of the run should know, a sentence each."""
    versions: dict[str, str]
    """Library -> version."""
    created: str
    """UTC, ISO 8601."""


def read(folder: Path) -> TrainingManifest | None:
    """The manifest in a checkpoint's folder, or None where there is none.

    Raises:
        UnsupportedCheckpoint: if the file is there and is not a manifest.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return TrainingManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UnsupportedCheckpoint(
            f"{path} is not a training manifest: {where}: {first['msg']}. Correct it, or remove it to audit without it"
        ) from None


def write(manifest: TrainingManifest, folder: Path) -> Path:
    """Write the manifest beside a checkpoint."""
    path = folder / FILE
    text = json.dumps(manifest.model_dump(exclude_defaults=True), indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path
