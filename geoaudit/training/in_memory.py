"""A model in the middle of training as something to measure: whether it is whole, and what it is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from geoaudit.errors import RequestError
from geoaudit.model import architecture
from geoaudit.records import digest

_SAYS_NOTHING = frozenset({"_name_or_path", "transformers_version", "use_cache"})
"""Keys of the config that do not change what the model computes."""


def check_whole(model: nn.Module) -> None:
    """Every parameter is in this process, so that it can run the model by itself.

    Raises:
        RequestError: FSDP or ZeRO-3.
    """
    for name, parameter in model.named_parameters():
        zero = hasattr(parameter, "ds_status") or hasattr(parameter, "ds_tensor")
        if zero or hasattr(parameter, "placements") or type(parameter).__name__ == "FlatParameter":
            raise RequestError(
                f"the parameters are sharded over processes ({name}): the monitor runs the model in one process and "
                "cannot read it under FSDP or ZeRO-3. Train with DDP or ZeRO-2, or audit the saved checkpoints"
            )


class WeightsInMemory:
    """Names what a model computes by its tensors, of which those that are not trained are read once.

    It is no identity of a file: names, dtypes and adapters are as they are in memory.
    """

    def __init__(self) -> None:
        self._frozen: dict[str, tuple[int, int, str]] = {}
        """Name -> (address, version, hash) of a tensor without gradients."""

    def id(self, model: nn.Module) -> str:
        """SHA-256 over (name, dtype, shape, bytes) of all tensors, over the config, and over LoRA's scaling."""
        hashed = hashlib.sha256()
        tensors: list[tuple[str, torch.Tensor]] = [*model.named_parameters(), *model.named_buffers()]
        for name, tensor in sorted(tensors, key=lambda item: item[0]):
            of_bytes = _sha256(tensor) if tensor.requires_grad else self._remembered(name, tensor)
            hashed.update(json.dumps([name, str(tensor.dtype), list(tensor.shape), of_bytes]).encode())
        config: Any = architecture.causal_lm(model).config
        written = json.loads(config.to_json_string())
        settings = {key: value for key, value in written.items() if key not in _SAYS_NOTHING}
        scalings = [
            [name, sorted(module.scaling.items())]
            for name, module in model.named_modules()
            if isinstance(getattr(module, "scaling", None), dict)
        ]
        return digest(["in training", hashed.hexdigest(), settings, scalings])

    def _remembered(self, name: str, tensor: torch.Tensor) -> str:
        at = (tensor.data_ptr(), tensor._version)
        known = self._frozen.get(name)
        if known is None or known[:2] != at:
            known = (*at, _sha256(tensor))
            self._frozen[name] = known
        return known[2]


def _sha256(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data if flat.numel() else b"").hexdigest()
