"""Which roundings a pass has: a number in the key of every row, so that a store never mixes two of them.

The same checkpoint, prompts, dtype and libraries give other last bits where this package computes in another order:
with another attention kernel, other padding, other batches. Below float32 that is enough to change a greedy token.
"""

from __future__ import annotations

VERSION = 1
"""Raise it with every change that may round a pass otherwise (`model.attention`, `model.prefix`, `attacks.passes` and
their like): rows that were stored before are then measured again. 1: scores and weights of short rows in float32."""
