"""Reading a model in the middle of its training and leaving everything as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and without gradients; behind the context nothing shows that it was read.

    What is put back, whatever happens inside: the mode of each module (a part may have been frozen in eval mode), the
    random states of Python, NumPy and torch on every device, the buffers (the dynamic rotary embedding keeps the
    length that it saw last), and a `forward` that was put on a module. Parameters, their gradients and hooks are not
    looked at: no reading of geoaudit writes to the first two, and `model.hooks` takes its own hooks off.

    Args:
        model: any module; its parameters keep their `requires_grad`.
    """
    modes = [(module, module.training) for module in model.modules()]
    forwards = [(module, module.__dict__["forward"]) for module in model.modules() if "forward" in module.__dict__]
    lengths = [(m, m.max_seq_len_cached) for m in model.modules() if hasattr(m, "max_seq_len_cached")]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    states = _random_states()
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, forward in forwards:
            module.__dict__["forward"] = forward
        for module, length in lengths:
            module.max_seq_len_cached = length
        for module, name, buffer, before in buffers:
            module._buffers[name] = buffer
            if not torch.equal(buffer, before):
                with torch.no_grad():
                    buffer.copy_(before)
        _restore(states)


def _random_states() -> dict[str, Any]:
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])
