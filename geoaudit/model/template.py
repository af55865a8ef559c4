"""Whether a checkpoint brings a chat template, read from its files without loading anything."""

from __future__ import annotations

from geoaudit.errors import MissingTemplate
from geoaudit.model.checkpoint import Checkpoint


def check_template(checkpoint: Checkpoint) -> None:
    """Raise MissingTemplate if neither the checkpoint nor its base has a chat template."""
    if checkpoint.template is None:
        raise MissingTemplate(
            f"{checkpoint.name} has no chat template (base models and many SFT runs have none): name the one it was "
            "trained with by --geoaudit-template FILE|zephyr|chatml|none"
        )
