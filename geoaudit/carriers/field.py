"""What a search tries: the candidate directions and where they may be applied, and how thoroughly each is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.select import Selecting
from geoaudit.errors import RequestError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Field:
    """The directions to be tried, and where they may be applied."""

    directions: Floats
    """[P, L + 1, d] differences in means; the last layer row is the last block's output and is not tried."""
    null: NDArray[np.bool_]
    """[P, L + 1] differences that are rounding noise."""
    harmless_mean: Floats
    """[P, L + 1, d], for the affine operator."""
    low_layers: tuple[int, ...]
    """Where COSMIC reads its similarity (`least_alike`)."""
    kept: NDArray[np.bool_] | None = None
    """[prompts asked, harmful first] which validation prompts a filter kept; None where there is none."""


@dataclass(frozen=True)
class How:
    """What is scored, and how thoroughly."""

    max_layer_fraction: float = 0.8
    kl_budget: float = 0.1
    frontier_kl: float = 1.0
    operator: Literal["linear", "affine"] = "linear"
    scope: Literal["every_site", "every_site_but_first_token"] = "every_site"
    search: Literal["frontier", "winner", "exhaustive"] = "frontier"
    selecting: Selecting | None = None
    """The rule whose winner is wanted (`winner` only)."""

    def __post_init__(self) -> None:
        if self.search != "winner":
            return
        if self.selecting is None:
            raise RequestError("search: winner needs the rule whose winner is wanted")
        asked = self.selecting.kl_budget, self.selecting.max_layer_fraction
        if asked != (self.kl_budget, self.max_layer_fraction) or self.selecting.peaks:
            raise RequestError(
                "search: winner scores what its rule can admit: both must have the same kl_budget and "
                "max_layer_fraction, and the filter behind peaks needs search: exhaustive"
            )

    @property
    def limit(self) -> float:
        """KL beyond which a candidate is screened, nats."""
        return self.kl_budget if self.search == "winner" else max(self.frontier_kl, self.kl_budget)
