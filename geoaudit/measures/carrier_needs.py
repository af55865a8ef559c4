"""How a carrier is searched for and chosen: the named presets, and what measures of carriers draw from a checkpoint.

Light on purpose: planning and deciding again import no numpy and no torch.

What the originals fix and a preset cannot give:

* ``paper`` and ``cosmic`` ask for 180 + 180 prompts to estimate directions on and 100 + 100 to score them; the
  built-in probe sets hold 176 and 72 pairs, and all are taken. ``arditi`` asks for 128 and 32, of other prompts.
* The five candidate layers of arXiv 2604.27019 are not printed: every layer is searched, up to four fifths of the
  depth. Nor does it say where a direction is edited while it is scored: at every site, as in the refusal-direction
  reference. Its carriers "at layer 0" cannot be `resid_pre` directions, null there; here layers count `resid_pre`.
* COSMIC's code discards, at position −1, the layers later than both median peak layers (`peaks`). It is no part of
  its paper; it needs the scores of every layer, so it implies `search: exhaustive` over the whole depth.
* A candidate that is null (a template token's embedding at layer 0) is never chosen. The originals score it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from geoaudit.carriers.select import Selecting
from geoaudit.errors import RequestError
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import (
    CandidateSearch,
    Cells,
    Examination,
    Need,
    Probe,
    SubspaceAblation,
)

HELD_OUT = "harmful"
"""The prompts that no direction was estimated or selected on, for `causal_rank`."""

_DEFAULT: dict[str, Any] = {
    "rule": "cosmic",
    "kl_budget": 0.10,
    "max_layer_fraction": 0.8,
    "beta": 1.0,
    "induce_threshold": 0.0,
    "raw": False,
    "peaks": False,
    "filtered": False,
    "scope": "every_site",
    "contrast": "harmful",
    "frontier_kl": 1.0,
    "search": "frontier",
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "geoaudit": _DEFAULT,
    "paper": {**_DEFAULT, "raw": True, "n_train": 176, "n_validation": 72},
    "arditi": {**_DEFAULT, "rule": "arditi", "filtered": True, "n_train": 128, "n_validation": 32},
    "cosmic": {
        **_DEFAULT,
        "rule": "cosmic-affine",
        "beta": 0.0,
        "raw": True,
        "peaks": True,
        "search": "exhaustive",
        "n_train": 176,
        "n_validation": 72,
    },
}
"""Defaults by name: this project's, arXiv 2604.27019's (§3), the refusal-direction reference's (arXiv 2406.11717),
and COSMIC's (arXiv 2506.00085; its command line's affine edit; `rule: cosmic` gives its linear one)."""


def with_preset(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with those of their preset for what is not given, and the operator that the rule implies.

    >>> with_preset({"preset": "cosmic", "kl_budget": 0.3})["operator"]
    'affine'

    Applied twice it changes nothing more. A preset that does not exist is left for whoever checks the values.

    Raises:
        RequestError: `rule: cosmic-affine` with another operator.
    """
    preset = given.get("preset", "geoaudit")
    if not isinstance(preset, str) or preset not in PRESETS:
        return given
    full = {"preset": preset, **PRESETS[preset], **given}
    affine = full["rule"] == "cosmic-affine"
    full.setdefault("operator", "affine" if affine else "linear")
    if affine and full["operator"] != "affine":
        raise RequestError(
            "rule cosmic-affine is COSMIC's score of the affine edit: leave operator out, or rule cosmic"
        )
    return full


def search_of(parameters: Mapping[str, Any]) -> CandidateSearch:
    """The candidate search that the parameters of a carrier ask for."""
    full = with_preset(parameters)
    peaks = full["peaks"] and full["rule"] != "arditi"
    search: Literal["frontier", "winner", "exhaustive"] = "exhaustive" if peaks else full["search"]
    return CandidateSearch(
        probe=Probe(full["n_train"], full.get("chat", ChatSetting())),
        n_validation=full["n_validation"],
        max_layer_fraction=1.0 if peaks else full["max_layer_fraction"],
        kl_budget=full["kl_budget"],
        frontier_kl=max(full["frontier_kl"], full["kl_budget"]),
        contrast=full["contrast"],
        operator=full["operator"],
        scope=full["scope"],
        filtered=full["filtered"],
        search=search,
        selecting=selecting_of(full) if search == "winner" else None,
    )


def selecting_of(parameters: Mapping[str, Any]) -> Selecting:
    """How the parameters of a carrier choose among the candidates of `search_of`."""
    full = with_preset(parameters)
    return Selecting(
        rule=full["rule"],
        kl_budget=full["kl_budget"],
        max_layer_fraction=full["max_layer_fraction"],
        induce_threshold=full["induce_threshold"],
        beta=full["beta"],
        raw=full["raw"],
        peaks=full["peaks"],
    )


def examination_of(parameters: Mapping[str, Any]) -> Examination:
    """Controls and scopes of the carrier or, where there is none, of the nearest candidate: evidence of either."""
    return Examination(search_of(parameters), selecting_of(parameters), "nearest")


def subspaces_of(parameters: Mapping[str, Any]) -> SubspaceAblation:
    """Top-k subspaces on held-out prompts, at the layer of the direction in use."""
    direction = parameters.get("direction", "carrier")
    return SubspaceAblation(search_of(parameters), selecting_of(parameters), direction, parameters["n_held_out"])


def cells_of(parameters: Mapping[str, Any]) -> Cells:
    """What directions are the difference of where the contrast is *refused*."""
    probe = search_of(parameters).probe
    return Cells(probe.n_train, probe.chat)


def for_carrier(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Means, candidate scores, the model's own answers to check the refusal score against, controls and scopes."""
    search = search_of(parameters)
    cells = (cells_of(parameters),) if search.contrast == "refused" else ()
    return (search.probe, *cells, *search.answered, search, examination_of(parameters))


def for_causal_rank(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """All that a carrier needs, and its subspaces."""
    return (*for_carrier(parameters), subspaces_of(parameters))
