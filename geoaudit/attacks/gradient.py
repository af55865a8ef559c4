"""Which tokens would lower a target's loss: its gradient for a one-hot choice of each token of a suffix.

Zou et al. 2023 (arXiv 2307.15043), section 2.2. Only the embedding's output gets a gradient: the model's parameters,
trained or not, are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoaudit.attacks.passes import Kept, run
from geoaudit.attacks.scoring import Put, scored
from geoaudit.model.loaded import LoadedModel


def gradient(
    loaded: LoadedModel, puts: Sequence[Put], spans: Sequence[tuple[int, int]], heads: Kept | None
) -> tuple[list[Tensor], list[list[float]], Kept]:
    """The gradient of each prompt's loss for a one-hot choice of the tokens in a span of it.

    Args:
        loaded: the model, in eval mode.
        puts: the prompts and their targets.
        spans: of each prompt, the index of the first token and the one behind the last; none of them is kept.
        heads: what the prompts begin with.

    Returns:
        Of each prompt `[L, vocabulary]` float32; of each, the cross-entropies of the target's tokens; the keys and
        values of the rows, from their first tokens on.
    """
    leaves: list[Tensor] = []

    def cut(module: torch.nn.Module, args: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    handle = loaded.embedding.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            hidden, kept = run(loaded, [put.row for put in puts], heads, keep=True)
            outputs, ids, rows = scored(hidden, puts)
            entropy = torch.nn.functional.cross_entropy(loaded.logits(outputs).float(), ids, reduction="none")
            lengths = torch.tensor([float(len(put.target)) for put in puts], device=entropy.device)
            (slope,) = torch.autograd.grad((entropy / lengths[rows]).sum(), leaves)
    finally:
        handle.remove()
    table = _table(loaded)
    slopes = [
        (slope[i, first - put.begins : last - put.begins].to(table.dtype) @ table.T).float()
        for i, (put, (first, last)) in enumerate(zip(puts, spans, strict=True))
    ]
    values = iter(entropy.tolist())
    return slopes, [[next(values) for _ in put.target] for put in puts], kept


def _table(loaded: LoadedModel) -> Tensor:
    """What the embedding gives for each token, `[vocabulary, d_model]`."""
    module = loaded.embedding
    with torch.no_grad():
        if type(module) is torch.nn.Embedding:
            return module.weight.detach()
        size = loaded.causal_lm.config.get_text_config().vocab_size
        return module(torch.arange(size, device=loaded.device)).detach()  # type: ignore[no-any-return]
