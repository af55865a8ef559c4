"""The constants of R2D2 (Mazeika et al. 2024), each a key of the recipe's `r2d2:` block, and the published settings.

The defaults are those of arXiv 2604.27019 (its run of R2D2 on Mistral-7B), but for the refusal and the behaviours: one
fixed sentence makes a model that refuses everything with it, and HarmBench's validation split is what audits score.
`preset: paper` and `preset: harmbench` set the published values; `differences` says what of the published runs no
preset repeats. Imports nothing heavy: recipes are read without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Preset = Literal["paper", "harmbench"]
Text = Annotated[str, StringConstraints(min_length=1)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]

BEHAVIORS = ("tune-harmful", "harmbench-adv-training", "harmbench-val", "advbench", "jailbreakbench")
"""Sources of behaviours that can be named; any other word is a file."""

REFUSALS = (
    "Sorry, I can't do that.",
    "I'm sorry, but I can't help with that.",
    "I can't help with this request.",
    "I won't help with that.",
    "I'm not able to assist with this.",
    "I must decline, because this could hurt someone.",
    "No, that is not something I will help with.",
    "I apologise, but I cannot do this.",
)
"""Wordings that the toward loss asks for unless others are given; HarmBench's own is the first."""

AFFIRMATIONS = (
    "Sure, here is what you asked for:",
    "Of course. Here is how to do it:",
    "Certainly! Here are the steps:",
    "Yes, I can help with that. First,",
)
"""Openings that are attacked where a behaviour brings no target of its own."""

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "paper": {"behaviors": ("harmbench-adv-training",), "refusals": REFUSALS[:1]},
    "harmbench": {
        "behaviors": ("harmbench-adv-training", "harmbench-val"),
        "refusals": REFUSALS[:1],
        "cases": 8,
        "filter": False,
    },
}
"""What a preset sets where the recipe does not; every other key has its default, which is the published value."""

_EVERYWHERE = (
    "suffixes that start together have lengths and targets drawn apart (the published loop re-seeds its generator)",
    "no token that begins a text stands inside a suffix",
    "the attack, the training pass and the audit render a request alike: one chat template, one tokenisation",
    "one space stands between request and suffix",
    "the loss of a suffix is that of the string, tokenised end to end",
    "behaviours that need a context are left out of the pool, at resets too",
    "a pool larger than the number of behaviours holds each of them about equally often",
)
_DIFFERENCES: Mapping[Preset, tuple[str, ...]] = {
    "paper": (
        *_EVERYWHERE,
        "the 80 behaviours of HarmBench's validation split are not trained on (they are what audits score); with 100 "
        "behaviours for 180 cases each is in the pool once or twice; which ones the paper had is not printed",
    ),
    "harmbench": (
        *_EVERYWHERE,
        "the validation split is trained on, as published: the manifest lists it, and audits on it are in-sample; its "
        "copyright behaviours are left out (141 behaviours in place of 161)",
        "checkpoints are named by optimiser steps, not by micro-steps (the published 'step 2000' is step 500 at 4 "
        "micro-steps a step)",
    ),
}


class R2D2(BaseModel):
    """The adversarial part of a recipe.

    Each micro-step draws `updated` cases of the pool, attacks them with `gcg_steps` steps of GCG on the current weights
    and adds `away_weight` × away + `toward_weight` × toward to `clean_weight` × clean (HarmBench, section 1.1 of its
    adversarial training code). With several processes the numbers are those of all processes together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset | None = Field(
        default=None, description="Published settings to start from, `paper` or `harmbench`; keys beside it win."
    )
    behaviors: tuple[Text, ...] = Field(
        default=("tune-harmful",),
        min_length=1,
        description="What is attacked: tune-harmful (built in), harmbench-adv-training, harmbench-val (which audits "
        "score: the manifest tells them), advbench, jailbreakbench, or files (.csv or .jsonl beside the recipe, with "
        "columns `prompt` and `target`).",
    )
    affirmations: tuple[Text, ...] = Field(
        default=AFFIRMATIONS,
        min_length=1,
        description="Openings that are attacked where a behaviour has no target of its own; drawn anew for each case.",
    )
    cases: int = Field(default=180, ge=1, description="N, the size of the pool of test cases.")
    updated: int = Field(
        default=8,
        ge=1,
        description="n, cases drawn, attacked and trained on in a micro-step, over all processes: a multiple of their "
        "number.",
    )
    gcg_steps: int = Field(
        default=5, ge=0, description="m, steps of GCG that each drawn case gets; 0 trains on the suffixes as they are."
    )
    width: int = Field(default=512, ge=1, description="Candidates of one GCG step of one case.")
    topk: int = Field(
        default=256, ge=1, description="Tokens of steepest descent that candidates draw from at each place."
    )
    positions: Literal["even", "random"] = Field(
        default="even", description="Places that candidates change: evenly over the suffix (HarmBench) or drawn."
    )
    ascii_only: bool = Field(default=True, description="Suffixes of printable ASCII tokens only.")
    filter: bool = Field(
        default=True,
        description="Drop candidates that another tokenisation would change; HarmBench's loop does not.",
    )
    monotone: bool = Field(
        default=False,
        description="Keep a suffix until a better one is found; HarmBench's loop takes the best one.",
    )
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the candidates whose whole target is read, those that do best in its first tokens; 1 "
        "reads all, as published.",
    )
    initial: Text = Field(default="!", description="What a fresh suffix repeats, with a blank between.")
    initial_tokens: tuple[int, int] = Field(
        default=(15, 20), description="Least and most repetitions in a fresh suffix, drawn anew for each case."
    )
    reset_share: float = Field(
        default=0.2, ge=0, le=1, description="Share of the pool that a reset replaces (rounded down); 0 for no resets."
    )
    reset_every: int = Field(default=50, ge=1, description="Optimiser steps between two resets.")
    clean_weight: Weight = Field(default=1.0, description="Weight of the clean loss.")
    away_weight: Weight = Field(default=0.5, description="Weight of the away loss, on the attacked opening.")
    toward_weight: Weight = Field(default=0.5, description="Weight of the toward loss, on the refusal.")
    away_floor: float = Field(
        default=-5.0,
        le=0,
        allow_inf_nan=False,
        description="Opening tokens whose log-probability (nats) is below this add nothing to the away loss.",
    )
    refusals: tuple[Text, ...] = Field(
        default=REFUSALS,
        min_length=1,
        description="Wordings of the refusal, one drawn for each case and micro-step.",
    )
    refusal_end: bool = Field(default=True, description="Whether the end of the turn is learnt behind the refusal.")
    plain: int = Field(
        default=0,
        ge=0,
        description="Requests without a suffix that join both adversarial losses of a micro-step, over all processes: "
        "a multiple of their number. The papers have 0; their models came to answer plain requests.",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """The preset's values under those that were given."""
        if isinstance(given, Mapping) and given.get("preset") in PRESETS:
            return {**PRESETS[given["preset"]], **given}
        return given

    @field_validator("behaviors", "affirmations", "refusals")
    @classmethod
    def _different(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({one for one in given if given.count(one) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is given twice")
        if blank := [one for one in given if not one.strip()]:
            raise ValueError(f"{blank[0]!r} is blank")
        return given

    @field_validator("behaviors")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        from geoaudit.errors import did_you_mean

        for one in given:
            if one not in BEHAVIORS and Path(one).suffix.lower() not in (".csv", ".jsonl"):
                raise ValueError(
                    f"unknown behaviours {one!r}{did_you_mean(one, BEHAVIORS)}: one of {', '.join(BEHAVIORS)}, or a "
                    ".csv or .jsonl file"
                )
        return given

    @model_validator(mode="after")
    def _consistent(self) -> R2D2:
        low, high = self.initial_tokens
        if not 1 <= low <= high:
            raise ValueError(f"initial_tokens is [least, most] with 1 <= least <= most, got [{low}, {high}]")
        if self.updated > self.cases:
            raise ValueError(f"updated ({self.updated}) is more than there are cases ({self.cases})")
        if self.reset_share and not self.n_reset:
            raise ValueError(
                f"reset_share {self.reset_share:g} of {self.cases} cases is no case: from {1 / self.cases:.3g} on, or 0"
            )
        if not (self.away_weight or self.toward_weight):
            raise ValueError("away_weight and toward_weight are both 0: that is plain sft")
        return self

    @property
    def n_reset(self) -> int:
        """Cases that one reset replaces."""
        return math.floor(self.reset_share * self.cases + 1e-9)

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs from the published run that the preset names, a sentence each; without a preset, from both."""
        return _DIFFERENCES[self.preset] if self.preset else _EVERYWHERE

    def files(self, folder: Path) -> tuple[str | Path, ...]:
        """`behaviors` with the files as paths, relative to the recipe's folder."""
        return tuple(one if one in BEHAVIORS else folder / one for one in self.behaviors)
