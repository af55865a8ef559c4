"""What a monitor reads and when: each setting a key of the recipe's `monitor:` block and an argument of `Monitor`.

The probe is the dense monitor of arXiv 2604.27019: difference-in-means candidates at five positions of five layers,
scored as COSMIC scores them, the best admissible one followed through the run. What the paper leaves open is ours:

* It names neither the prompts nor the layers. The built-in probe sets hold 176 and 72 pairs where it has 180 and 100;
  `preset: paper` takes all of them, as the audit's preset does. Name larger sources and n for 180 and 100.
* Layers are spread evenly from a fifth to four fifths of the depth unless they are listed.

Imports nothing heavy: recipes are read without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Preset = Literal["paper", "small", "tiny"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Quantity = Literal[
    "refusal_harmful",
    "refusal_harmless",
    "cosine_to_anchor",
    "cosine_to_previous",
    "anchor_site_cosine",
    "gap",
    "norm",
    "split_half",
    "kl",
    "s_refuse",
    "s_comply",
    "total",
    "admissible",
    "layer",
    "position",
]
"""What can be bounded; `curve.MEANINGS` says what each is."""
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "paper": {"n_train": 176, "n_validation": 72, "raw": True},
    "small": {},
    "tiny": {"n_train": 16, "n_validation": 8, "positions": 2, "layers": 3},
}
"""What a preset sets where nothing else does; `small` is the defaults."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bound(_Closed):
    """A bound on one quantity of the curve; training stops where it is broken."""

    quantity: Quantity = Field(description="What is bounded, by its name in the curve.")
    at_least: Finite | None = Field(default=None, description="Least value that lets training go on.")
    at_most: Finite | None = Field(default=None, description="Greatest value that lets training go on.")
    patience: int = Field(default=1, ge=1, description="Probes in a row that must break the bound.")

    @model_validator(mode="after")
    def _bounded(self) -> Bound:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a bound needs at_least or at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}: no value keeps that bound")
        return self

    def holds(self, value: float | None) -> bool:
        """Whether a value keeps the bound. One that is missing or NaN does not."""
        if value is None:
            return False
        # comparisons with NaN are False
        above = self.at_least is None or value >= self.at_least
        below = self.at_most is None or value <= self.at_most
        return above and below and value == value

    def __str__(self) -> str:
        parts = [f">= {self.at_least:g}"] if self.at_least is not None else []
        parts += [f"<= {self.at_most:g}"] if self.at_most is not None else []
        return f"{self.quantity} {' and '.join(parts)}"


class MonitorSettings(_Closed):
    """A dense probe of the refusal carrier during training."""

    preset: Preset | None = Field(
        default=None,
        description="`paper` (the size of arXiv 2604.27019's dense monitor), `small` (the defaults) or `tiny`; keys "
        "beside it win.",
    )
    every: int = Field(default=10, ge=1, description="Optimiser steps between two probes; the papers have 5.")
    at_start: bool = Field(default=True, description="Whether to probe before the first step.")
    at_end: bool = Field(default=True, description="Whether to probe at the last step, wherever it falls.")
    anchor: int = Field(
        default=0,
        ge=0,
        description="Cosines to the anchor are to the first probe at or behind this step; the papers have 5 for SFT, "
        "30 for R2D2.",
    )
    n_train: int = Field(default=64, ge=4, description="Prompts of each kind that directions are estimated on.")
    n_validation: int = Field(default=32, ge=2, description="Prompts of each kind that candidates are scored on.")
    train: tuple[str, str] = Field(
        default=("probe-harmful-train", "probe-harmless-train"),
        description="Sources of harmful and of harmless prompts for directions: names of `geoaudit data`, or files.",
    )
    validation: tuple[str, str] = Field(
        default=("probe-harmful-validation", "probe-harmless-validation"),
        description="Sources of the prompts for scores; where it is the source of `train`, those behind its `n_train`.",
    )
    positions: int = Field(default=5, ge=1, description="Last k tokens of the template, or as many as it has.")
    layers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=5,
        description="Candidate layers (resid_pre, counted from 0): a list, or how many to spread from a fifth to four "
        "fifths of the depth.",
    )
    kl_budget: float = Field(default=0.10, ge=0, le=20, description="Greatest KL that is admissible, nats.")
    frontier_kl: float = Field(
        default=1.0,
        ge=0,
        le=20,
        description="KL up to which candidates are scored where none is admissible, nats.",
    )
    beta: float = Field(default=1.0, ge=0, le=100, description="Weight of the KL in S_refuse + S_comply - beta * KL.")
    raw: bool = Field(
        default=False,
        description="The published score alone; false asks in addition that adding a carrier does more than nothing.",
    )
    refusals: tuple[str | int, ...] = Field(
        default=("I", "Sorry", "Unfortunately", "As"),
        min_length=1,
        description="Openings of refusals, of which the first token counts in the refusal score, or token ids.",
    )
    template: str | None = Field(
        default=None, description="Chat template: zephyr, chatml or Jinja text; the tokenizer's own if left out."
    )
    system: str | None = Field(
        default=None,
        description="System prompt of the probe, empty for none at all; left out, that of the recipe's conversations.",
    )
    stop: tuple[Bound, ...] = Field(
        default=(),
        description="Bounds; training stops where one is broken. A value that could not be read breaks it too.",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """The preset's values under those that were given."""
        if isinstance(given, Mapping) and given.get("preset") in PRESETS:
            return {**PRESETS[given["preset"]], **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> MonitorSettings:
        if isinstance(self.layers, tuple):
            if not self.layers:
                raise ValueError("layers is empty: list some, or give how many to spread")
            if len(set(self.layers)) != len(self.layers):
                raise ValueError(f"layers are listed once each, got {list(self.layers)}")
        if self.frontier_kl < self.kl_budget:
            raise ValueError(f"frontier_kl {self.frontier_kl:g} is below kl_budget {self.kl_budget:g}")
        return self

    def within(self, folder: Path) -> MonitorSettings:
        """The same with its files relative to a folder, the recipe's."""

        def placed(pair: tuple[str, str]) -> tuple[str, str]:
            first, second = (str(folder / one) if is_file(one) else one for one in pair)
            return first, second

        return self.model_copy(update={"train": placed(self.train), "validation": placed(self.validation)})

    @property
    def contract(self) -> dict[str, Any]:
        """What a curve's numbers depend on: two curves compare where these are equal."""
        return self.model_dump(mode="json", exclude={"preset", "every", "at_start", "at_end", "stop"})


def is_file(source: str) -> bool:
    """Whether a source is a file of the user's and not a name."""
    return Path(source).suffix.lower() in (".csv", ".jsonl", ".txt")


def spread(n: int, n_layers: int) -> tuple[int, ...]:
    """`n` layers (or as many as there are) spread evenly from a fifth to four fifths of the depth.

    The papers' rule leaves out the last fifth; `resid_pre` of layer 0 holds no direction at a template token.
    """
    first = max(1, n_layers // 5)
    last = max(first, int(0.8 * n_layers) - 1)
    if n == 1:
        return ((first + last) // 2,)
    found = sorted({first + round(i * (last - first) / (n - 1)) for i in range(n)})
    return tuple(found)
