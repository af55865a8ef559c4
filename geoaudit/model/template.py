"""Whether a checkpoint brings a chat template, read from its files without loading anything."""

from __future__ import annotations

from geoaudit.errors import MissingTemplate
from geoaudit.model import folder, gguf
from geoaudit.model.checkpoint import Checkpoint


def check_template(checkpoint: Checkpoint) -> None:
    """Raise MissingTemplate if neither the checkpoint nor its base has a chat template."""
    current: Checkpoint | None = checkpoint
    while current is not None:
        in_file = current.kind in ("gguf", "builtin")
        if gguf.header(current.path).template if in_file else folder.template(current.path):
            return
        current = current.base
    raise MissingTemplate(
        f"{checkpoint.name} has no chat template (base models and many SFT runs have none): name the one it was trained "
        "with by --geoaudit-template FILE|zephyr|chatml|none"
    )
