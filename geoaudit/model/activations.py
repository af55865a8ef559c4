"""What the residual stream holds: means over prompts at `t_inst` and behind the instruction, and single positions.

Memory does not grow with the number of prompts: means are kept as float64 sums in a fixed number of blocks of prompts,
which is what the bootstrap over blocks needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.batches import TOKENS_AT_ONCE, packed, shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import Place, captured
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import last_index, prefill, run_suffixes

Progress = Callable[[int, int], None]
"""Called with (prompts done, prompts in all) after each batch."""


def block_means(
    loaded: LoadedModel,
    rendered: Sequence[Rendered],
    *,
    n_blocks: int = 32,
    blocks: Sequence[int] | None = None,
    tokens: int = TOKENS_AT_ONCE,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean residual stream at `t_inst`, at every post-instruction position and at every layer, in blocks of prompts.

    Prompt i belongs to block i mod `n_blocks`, so a prefix of the prompts fills the blocks evenly. The result depends
    on how prompts are batched only through floating-point order (1e-4 relative in float32; tested).

    Args:
        loaded: the model; active edits apply.
        rendered: n prompts of `loaded.chat`.
        n_blocks: B.
        blocks: the block of each prompt, in [0, B), where it is another.
        tokens: in one pass, about.
        progress: told after each batch.

    Returns:
        counts: `[B]` int64, prompts in each block.
        means: `[B, 1 + P, L + 1, d_model]` float32: `t_inst`, then the P positions of `loaded.chat.positions` in order;
            entry l < L is `resid_pre[l]`, entry L is `resid_post[L − 1]`. NaN in a block without prompts: their
            weighted mean by `counts` leaves it out, an unweighted one shows.

    Raises:
        RequestError: no prompts, or one whose last tokens are not the template's.
        BrokenCheckpoint: an activation is NaN or infinite.
    """
    _check_post_tokens(loaded, rendered)
    places = every_layer(loaded)
    sums = torch.zeros(n_blocks, 1 + len(loaded.chat.positions), len(places), loaded.d_model, dtype=torch.float64)
    counts = torch.zeros(n_blocks, dtype=torch.int64)
    of_prompt = torch.arange(len(rendered)) % n_blocks if blocks is None else torch.tensor(list(blocks))
    done = 0
    for rows, values in at_positions(loaded, rendered, places, tokens):
        block = of_prompt[rows]
        sums.index_add_(0, block, values.double())
        counts.index_add_(0, block, torch.ones_like(block))
        done += len(rows)
        if progress is not None:
            progress(done, len(rendered))
    means = sums / counts[:, None, None, None]  # 0/0 is NaN: a block without prompts
    return counts.numpy(), means.float().numpy()


def last_token(
    loaded: LoadedModel, rendered: Sequence[Rendered], places: Sequence[Place], tokens: int = TOKENS_AT_ONCE
) -> Tensor:
    """The stream at the last token of each prompt (position −1), `[n, len(places), d_model]` float32 on the CPU.

    Non-finite values are passed on: under an edit they belong to the edit, and whoever scores it has to drop it.
    """
    out = torch.empty(len(rendered), len(places), loaded.d_model)
    for rows, values in _batches_at(loaded, rendered, places, (-1,), tokens):
        out[rows] = values[:, 1]
    return out


def every_layer(loaded: LoadedModel) -> list[Place]:
    """`resid_pre` of every layer, then `resid_post` of the last one: the layer rows of block means."""
    places: list[Place] = [("resid_pre", layer) for layer in range(loaded.n_layers)]
    return [*places, ("resid_post", loaded.n_layers - 1)]


def at_positions(
    loaded: LoadedModel, rendered: Sequence[Rendered], places: Sequence[Place], tokens: int = TOKENS_AT_ONCE
) -> Iterator[tuple[list[int], Tensor]]:
    """Batch by batch: which prompts, and their stream `[n, 1 + P, places, d_model]` in float32 on the CPU.

    The first position is `t_inst`, the others are those of `loaded.chat.positions` in order.

    Raises:
        RequestError: no prompts.
        BrokenCheckpoint: an activation is NaN or infinite.
    """
    for rows, values in _batches_at(loaded, rendered, places, loaded.chat.positions, tokens):
        _check_finite(values)
        yield rows, values


def _batches_at(
    loaded: LoadedModel,
    rendered: Sequence[Rendered],
    places: Sequence[Place],
    positions: Sequence[int],
    tokens: int,
) -> Iterator[tuple[list[int], Tensor]]:
    """The stream of each batch at `t_inst` and at `positions`."""
    if not rendered:
        raise RequestError("no prompts to read activations on")
    shared = shared_prefix(rendered)
    cache = prefill(loaded, rendered[0].ids[:shared])
    for rows in packed([len(prompt.ids) - shared for prompt in rendered], tokens=tokens):
        batch = [rendered[i] for i in rows]
        behind = last_index(batch, shared)[:, None] + 1 + torch.tensor(positions)
        index = torch.cat([torch.tensor([[prompt.t_inst - shared] for prompt in batch]), behind], dim=1)
        with captured(loaded, places, keep=_gather(index)) as found:
            run_suffixes(loaded, batch, shared=shared, cache=cache)
        yield rows, torch.stack([found[place].float().cpu() for place in places], dim=2)


def _gather(index: Tensor) -> Callable[[Tensor], Tensor]:
    """Pick `index [n, k]` along the second axis of `[n, length, d_model]`: a copy, so the rest can be freed."""
    rows = torch.arange(len(index))[:, None]
    return lambda stream: stream[rows.to(stream.device), index.to(stream.device)]


def _check_post_tokens(loaded: LoadedModel, rendered: Sequence[Rendered]) -> None:
    """Every prompt ends in the same template tokens; a mean over different tokens would be no position at all."""
    post = loaded.chat.post_ids
    for prompt in rendered:
        if prompt.ids[len(prompt.ids) - len(post) :] != post:
            raise RequestError(
                f"a prompt does not end in the template's {len(post)} post-instruction tokens, because the tokenizer "
                f"merges its last characters with the template: change how it ends: {prompt.text[-120:]!r}"
            )


def _check_finite(values: Tensor) -> None:
    """`values [n, positions, layers + 1, d_model]` are numbers, or the checkpoint is broken."""
    finite = values.isfinite().all(dim=-1).all(dim=1).all(dim=0)
    if not finite.all():
        layer = int((~finite).nonzero()[0, 0])
        raise BrokenCheckpoint(
            f"activations are NaN or infinite from resid_pre of layer {layer} on: the weights are broken, or the dtype "
            "is too narrow for this model (float16 overflows where bfloat16 does not)"
        )
