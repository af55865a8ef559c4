"""What representational independence draws from a checkpoint. Light: planning imports no numpy and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.measures.coupling_needs import for_coupling
from geoaudit.measures.needs import CosineProfiles, Need

_SHARED = ("form", "h_position", "r_position", "contrast", "direction", "n_train", "n_validation", "chat")


def profiles_of(parameters: Mapping[str, Any]) -> CosineProfiles:
    """Cosine profiles of H and R, in the form that is asked for."""
    return CosineProfiles(**{name: parameters[name] for name in _SHARED}, made_of=for_coupling(parameters))


def directions_of(asked: Mapping[str, Any] | CosineProfiles) -> dict[str, Any]:
    """The parameters of the coupling that H and R are those of; subspaces have no part in it."""
    of = asked if isinstance(asked, Mapping) else {name: getattr(asked, name) for name in _SHARED}
    return {**{name: of[name] for name in _SHARED}, "k": 1}


def for_independence(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """All that H and R are made of, and their profiles."""
    return (*for_coupling(parameters), profiles_of(parameters))
