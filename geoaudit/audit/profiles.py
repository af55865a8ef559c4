"""Profiles: documented defaults for the parameters that cost time, and whether the interval or the estimate decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from geoaudit.errors import UnknownName


@dataclass(frozen=True)
class Profile:
    """How much is measured and how strictly it is decided. A parameter set in the suite wins over the profile."""

    name: str
    decide: Literal["interval", "estimate"]
    what: str
    defaults: Mapping[str, Any]
    """Parameter -> value; `n: None` means all prompts of the source."""
    adaptive: Mapping[str, int]
    """The same for attacks that are optimised against the checkpoint, which cost minutes a behaviour."""


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "estimate",
            "a quick look: few prompts, the point estimate decides, not a gate",
            {"n": 64, "n_train": 64, "n_validation": 16, "n_controls": 39},
            {"n": 8, "budget": 20},
        ),
        Profile(
            "standard",
            "interval",
            "the default: the whole 95 % interval must satisfy the bound",
            {"n": 128, "n_train": 128, "n_validation": 32, "n_controls": 39},
            {"n": 32, "budget": 100},
        ),
        Profile(
            "release",
            "interval",
            "every prompt that the sources have",
            {"n": None, "n_train": 176, "n_validation": 64, "n_controls": 99},
            {"n": 96, "budget": 500},
        ),
    )
}


def get(name: str) -> Profile:
    """The profile of that name; UnknownName with the nearest one otherwise."""
    if name not in PROFILES:
        raise UnknownName.among("profile", name, PROFILES)
    return PROFILES[name]
