"""What a search found and what a closer look at one direction adds.

Scores are kept per prompt, so that selection can be resampled and decided again without the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import ArditiScores, CosmicScores
from geoaudit.carriers.select import Row

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SearchTable:
    """All C candidates of one checkpoint on h harmful and s harmless prompts, with what they are compared with."""

    candidates: tuple[Row, ...]
    """Position, layer, and why a candidate was not scored in full (*null*, *screened*, or *not-inducing* where only a
    winner was looked for); without scores."""
    norm: tuple[float, ...]
    """Of each difference in means, in activation units."""
    arditi: ArditiScores
    cosmic: CosmicScores
    """Both NaN where there is no score. A screened candidate has the KL of the prompts that it was given up after, and
    so has one that is *not-inducing*. One whose KL is complete but out of reach of the budget has no bypass and no
    S_comply: its KL alone rules it out."""
    base_harmful: Floats
    """[h] refusal score of harmful prompts, no intervention, nats."""
    base_harmless: Floats
    """[s] the same of harmless prompts."""
    n_layers: int
    low_layers: tuple[int, ...]
    """Where COSMIC reads its similarity."""
    refusal_tokens: tuple[str, ...]
    inputs: Mapping[str, str]
    """Prompt set -> hash."""
    frontier_kl: float
    """Nats: the least mean KL that a screened candidate must have."""
    kept: NDArray[np.bool_] | None = None
    """[prompts asked, harmful first] for filtered searches: which ones were kept; None where all were."""

    @property
    def n(self) -> int:
        """Harmless validation prompts."""
        return int(self.base_harmless.size)


@dataclass(frozen=True, eq=False)
class Scope:
    """The same direction under another scope or operator, on the validation prompts."""

    kl: Floats
    """[s] KL(base ‖ edited) on harmless prompts, nats."""
    bypass: Floats
    """[h] refusal score of harmful prompts with it ablated, nats."""


@dataclass(frozen=True, eq=False)
class Examined:
    """The direction in use, looked at closely.

    Controls are added at its own layer, each at the greatest dose (at most 4 times the direction's norm) whose KL on
    harmless prompts does not exceed that of adding the direction itself.
    """

    position: int
    layer: int
    added_kl: Floats
    """[s] KL(base ‖ added) of the direction on harmless prompts, nats."""
    control_dose: Floats
    """[m] in multiples of the direction's norm."""
    control_kl: Floats
    """[m] mean KL of each control at its dose, nats; at most the mean of `added_kl`."""
    control_s_refuse: Floats
    """[m] S_refuse of each control (COSMIC's cosine)."""
    control_induce: Floats
    """[m] mean refusal score of harmless prompts with the control added, nats."""
    scopes: Mapping[str, Scope]
    """`every_site`, `every_site_but_first_token`, `single_layer`, `affine` -> what ablation does there."""


@dataclass(frozen=True, eq=False)
class SubspaceEffects:
    """Top-k subspaces at one layer, ablated at every site; k = 1 … K. Controls are k-dimensional, KL-matched."""

    layer: int
    base: Floats
    """[n] refusal score of held-out harmful prompts, no intervention, nats."""
    ablated: Floats
    """[K, n] with the top-k subspace ablated."""
    controls: Floats
    """[K, m, n] with a control subspace ablated at its dose."""
    kl: Floats
    """[K] mean KL of the top-k ablation on harmless validation prompts, nats."""
    control_kl: Floats
    """[K, m]; at most `kl`."""
    control_dose: Floats
    """[K, m] λ of x − λ U Uᵀ x, in [0, 4]."""
    inputs: Mapping[str, str]
    """Held-out prompt set -> hash."""


@dataclass(frozen=True, eq=False)
class Carried:
    """The direction of another checkpoint, at its own site, edited into this one, on the shared validation prompts."""

    position: int
    layer: int
    base_harmful: Floats
    """[h] refusal score, no intervention, nats."""
    base_harmless: Floats
    """[s]"""
    ablated: Floats
    """[h] harmful prompts with it ablated."""
    added: Floats
    """[s] harmless prompts with it added at its raw norm."""
    kl: Floats
    """[s] KL of the ablation on harmless prompts."""
