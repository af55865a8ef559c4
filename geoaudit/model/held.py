"""The one model in memory. Where checkpoints are adapters of one base, the base stays and only the adapter changes.

A swapped adapter computes bit for bit what a fresh load of it computes (tested over ranks, targets, scalings and
DoRA). That is so where an adapter leaves its base as it is: LoRA with factors of its own and nothing else. What
replaces weights of its base, or derives its start from them (PiSSA, OLoRA), gets a base of its own. Nothing rests on
that alone: a base is used again only if its modules and every tensor of it are what they were when it was read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.model import folder, load, tensorfile
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.unchanged import stamps

if TYPE_CHECKING:
    from torch import Tensor

PLAIN = (True, False, None, "gaussian")
"""Values of `init_lora_weights` under which PEFT leaves the base's weights as they are."""


class Held:
    """At most one model, lent to one checkpoint at a time.

    Args:
        store: folder for conversions.
        device: a device's name, from `load.resolve_device`.
    """

    def __init__(self, store: Path, device: str) -> None:
        self.store = store
        self.device = device
        self._base: _Base | None = None
        self._lent: Callable[[], None] | None = None
        """Takes the model back from whoever has it."""

    def lend(self, checkpoint: Checkpoint, tokenizer: Any, dtype: str, taken_back: Callable[[], None]) -> Any:
        """The model of a checkpoint, as `load.load` gives it. What was lent before is taken back first.

        Args:
            checkpoint: what `resolve` found.
            tokenizer: the checkpoint's.
            dtype: one of `load.DTYPES`.
            taken_back: called before the model is changed or let go, to drop every reference to it: nobody may run
                it any more.

        Raises:
            BrokenCheckpoint, RequestError: as `load.load`.
        """
        self._take_back()
        shared = checkpoint.base is None or leaves_its_base(checkpoint)
        base = self._base_of(checkpoint.base or checkpoint, dtype) if shared else None
        if base is None:
            self.release()
        try:
            model, _ = load.load(
                checkpoint,
                store=self.store,
                device=self.device,
                dtype=dtype,
                base=None if base is None else base.model,
                tokenizer=tokenizer,
            )
        except BaseException:  # half an adapter may be in the base
            self.release()
            raise
        if base is not None and checkpoint.base is not None:
            base.adapted = model
        self._lent = taken_back
        return model

    def keep(self, wanted: Callable[[Checkpoint], bool]) -> None:
        """Take the model back; its base stays where it is the base of something that is still to come."""
        self._take_back()
        if self._base is not None and not wanted(self._base.source):
            self.release()

    def release(self) -> None:
        """Take the model back and let go of it, its base too."""
        self._take_back()
        self._base = None

    def _take_back(self) -> None:
        taken, self._lent = self._lent, None
        if taken is not None:
            taken()

    def _base_of(self, source: Checkpoint, dtype: str) -> _Base:
        """The base without any adapter: the one that is there, if it is that one and unharmed, else read anew."""
        asked = (source.kind, source.path, dtype)
        if self._base is not None and self._base.asked == asked and self._base.as_it_was():
            return self._base
        self.release()
        files = _files(source)
        before = stamps(files)
        model = load.load_base(source, store=self.store, device=self.device, dtype=dtype)
        self._base = _Base(source, asked, files, before, model, _content(model))
        return self._base


@dataclass
class _Base:
    """A model without an adapter, or with the one that is lent."""

    source: Checkpoint
    asked: tuple[str, Path, str]
    files: list[Path]
    stamps: list[list[Any]]
    """Of its files, before they were read."""
    model: Any
    content: list[Any]
    adapted: Any = None
    """The PEFT model around it."""

    def as_it_was(self) -> bool:
        """Take the adapter off, and say whether the model that is left is what was read, and its files are still so."""
        adapted, self.adapted = self.adapted, None
        if adapted is not None:
            adapted.base_model.unload()
            del adapted
        return stamps(self.files) == self.stamps and _content(self.model) == self.content


def leaves_its_base(checkpoint: Checkpoint) -> bool:
    """Whether an adapter only adds to what its base computes: its factors are all that its file holds.

    Weights that were trained whole (`modules_to_save`, biases, embeddings with new tokens) take the place of the
    base's; some starting values are taken out of the base's weights.
    """
    settings, file = folder.adapter(checkpoint.path)
    if settings.get("peft_type") != "LORA" or settings.get("init_lora_weights", True) not in PLAIN:
        return False
    return all(".lora_" in tensor.name for tensor in tensorfile.read(file))


def _files(source: Checkpoint) -> list[Path]:
    """What a model is read from."""
    if not source.path.is_dir():
        return [source.path]
    return [*folder.weights(source.path), source.path / folder.CONFIG]


def _content(model: Any) -> list[Any]:
    """Modules, hooks, and of each tensor its dtype, shape and a sum over its bits, which rounding cannot blur."""
    modules = [
        [name, type(module).__name__, len(module._forward_hooks), len(module._forward_pre_hooks)]
        for name, module in model.named_modules()
    ]
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [modules, [[name, str(each.dtype), list(each.shape), *_sums(each)] for name, each in tensors]]


def _sums(tensor: Tensor) -> tuple[int, int]:
    """Sums of the bits of a tensor, taken as whole numbers: of all of them, and of every second one."""
    import torch

    if not tensor.numel():
        return 0, 0
    width = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(-1).view(width)
    return int(bits.sum(dtype=torch.int64)), int(bits[::2].sum(dtype=torch.int64))
