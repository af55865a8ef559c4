"""Which prompts are computed together: pure functions of the prompts' lengths.

Below float32 a completion depends on its neighbours in the batch, so a batch is the unit that is stored and repeated,
and the plan is made from the whole list of prompts before any finished row is taken out. Standard library only: a plan
is made, and its rows looked up in the store, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geoaudit.errors import RequestError
from geoaudit.model.chat import Rendered

FIRST_CHUNK = 64
"""Prompts in the first chunk; chunks end at this number times a power of two."""

MOST_TOKENS = 64 * 1024
"""Padded tokens in a batch, at most: 64 rows of 1,024 tokens, which holds the longest answers that judges of harm read
(512) behind prompts of 512. More memory would not make a larger batch, so machines that have enough plan alike."""

TOKENS_AT_ONCE = 2048
"""Tokens in one pass, about: enough to keep the cores busy, and little enough for their caches."""
TOKENS_OF_A_PASS = 64
"""What a pass costs besides its tokens, in tokens: about 50 ms where a token of the built-in model takes 0.8 ms."""


def plan(
    lengths: Sequence[int], max_new_tokens: int, *, rows: int = 64, tokens: int = MOST_TOKENS
) -> tuple[tuple[int, ...], ...]:
    """Indices of the prompts of each batch.

    The list is cut into chunks that end at 64, 128, 256, 512, … prompts, each chunk is sorted by length (little is
    computed for padding) and cut into batches. The plan of the first 64 · 2^k prompts is therefore the beginning of
    the plan of all: a larger profile finds the rows of a smaller one in the store.

    Args:
        lengths: tokens of each rendered prompt, in the order of the prompts.
        max_new_tokens: where completions are cut.
        rows: prompts in a batch, at most.
        tokens: padded tokens in a batch, at most: rows times (longest prompt + `max_new_tokens`). A prompt that is
            longer than that alone has a batch of its own.

    Raises:
        RequestError: `rows`, `tokens` or `max_new_tokens` below 1.
    """
    if min(rows, tokens, max_new_tokens) < 1:
        raise RequestError(
            f"a batch plan needs rows, tokens and max_new_tokens of at least 1: got {rows}, {tokens}, {max_new_tokens}"
        )
    made: list[tuple[int, ...]] = []
    for chunk in _chunks(len(lengths)):
        batch: list[int] = []
        for index in sorted(chunk, key=lambda i: lengths[i]):  # stable: ties stay in the order of the prompts
            # sorted, so this prompt is the longest so far
            if batch and (len(batch) == rows or (len(batch) + 1) * (lengths[index] + max_new_tokens) > tokens):
                made.append(tuple(batch))
                batch = []
            batch.append(index)
        made.append(tuple(batch))
    return tuple(made)


def token_budget(kv_bytes_per_token: int, available_bytes: int) -> int:
    """Padded tokens that a batch may hold (`tokens` of `plan`): a power of two, at most `MOST_TOKENS`.

    Keys and values get half of the memory; the other half is for activations and for the copy of a layer's cache that
    growing it by a token makes. Rounded down to a power of two, so that machines with about the same memory plan
    alike: the plan is part of what a completion depends on. For the same reason pass what the machine has in all
    beside the weights, not what happens to be free.

    Args:
        kv_bytes_per_token: of all layers, `kv_values` (geoaudit.model.size) times the bytes of the dtype.
        available_bytes: memory of the device, without the weights.

    Returns:
        At least 1: with one row a batch the model has to do with what there is.

    Raises:
        RequestError: `kv_bytes_per_token` below 1.
    """
    if kv_bytes_per_token < 1:
        raise RequestError(f"a token takes at least one byte of keys and values: got {kv_bytes_per_token}")
    fitting = min(available_bytes // (2 * kv_bytes_per_token), MOST_TOKENS)
    return 1 << (fitting.bit_length() - 1) if fitting >= 1 else 1


def _chunks(n: int) -> Iterator[range]:
    """The indices below n, cut at 64 and its doublings."""
    start, end = 0, FIRST_CHUNK
    while start < n:
        yield range(start, min(end, n))
        start, end = end, 2 * end


def shared_prefix(rendered: Sequence[Rendered]) -> int:
    """Number of leading tokens that all prompts share, at most up to the earliest `t_inst`.

    `t_inst` and all positions behind it stay out of the prefix: they are read, and every prompt keeps a token to run.
    """
    if not rendered:
        return 0
    # what the lexicographically smallest and largest share, all in between share
    low, high = min(prompt.ids for prompt in rendered), max(prompt.ids for prompt in rendered)
    differ = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    return min(next(differ, len(low)), min(prompt.t_inst for prompt in rendered))


def packed(lengths: Sequence[int], copies: int = 1, tokens: int = TOKENS_AT_ONCE) -> Iterator[list[int]]:
    """Indices of the prompts of each pass: neighbours in length, so that little is computed for padding.

    A pass ends where it would hold more than `tokens`, or where the next, longer prompt would pad it by more than
    another pass costs. A pure function of its arguments: the same list always gives the same passes.

    Args:
        lengths: tokens of each prompt (behind what all share).
        copies: rows that each prompt takes, e.g. candidates that share a pass.
        tokens: padded tokens in a pass, about; one prompt may have more.
    """
    batch: list[int] = []
    unpadded = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[index] * (len(batch) + 1)
        wasted = padded - unpadded - lengths[index]
        if batch and (padded * copies > tokens or wasted * copies > TOKENS_OF_A_PASS):
            yield batch
            batch, unpadded = [], 0
        batch.append(index)
        unpadded += lengths[index]
    if batch:
        yield batch
