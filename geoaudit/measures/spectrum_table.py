"""The measures of spectra, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

from geoaudit.measures.definition import CHAT, Kind, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, PAPER_1

_NEEDS = "geoaudit.measures.spectrum_needs"
_SPECTRA = "geoaudit.measures.spectrum"
_SPECTRUM: dict[str, Parameter] = {
    "field": Parameter(
        "Which differences in means: `paper`, those of all positions and layers as they are; `normalised`, each at "
        "unit norm, so that late layers do not dominate by their norm; `held_out`, as they are but without the energy "
        "of sampling noise, from products of different prompts; `layer`, those of one layer.",
        "choice",
        "paper",
        choices=("paper", "normalised", "held_out", "layer"),
    ),
    "layer": Parameter(
        "The layer that `field: layer` reads (resid_pre, counted from 0; -1 is the last).", "int", -1, low=-1
    ),
    "n_train": N_TRAIN,
    "chat": CHAT,
}


def _spectrum(
    name: str, title: str, unit: str, says: str, source: str, extra: Mapping[str, Parameter], kind: Kind = "continuous"
) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"{_SPECTRA}:{name}",
        needs=f"{_NEEDS}:for_spectrum",
        unit=unit,
        kind=kind,
        range=(1.0, None),
        better="neither",
        says=says,
        says_not=GEOMETRY_LIMIT,
        source=source,
        parameters={**extra, **_SPECTRUM},
        version=4,
    )


SPECTRUM: tuple[Measure, ...] = (
    _spectrum(
        "effective_rank",
        "Effective rank",
        "dimensions",
        "How many directions the harmful−harmless differences over positions and layers spread over.",
        f"energy: {PAPER_1} Eq. 3; singular_values: Roy & Vetterli 2007",
        {
            "convention": Parameter(
                "Entropy of `energy` σ²/Σσ² (the papers) or of `singular_values` σ/Σσ (Roy & Vetterli).",
                "choice",
                "energy",
                choices=("energy", "singular_values"),
            )
        },
    ),
    _spectrum(
        "participation_ratio",
        "Participation ratio",
        "dimensions",
        "The same spread as (Σσ²)²/Σσ⁴.",
        f"{PAPER_1} Eq. 4",
        {},
    ),
    _spectrum(
        "components_for_energy",
        "Components for energy",
        "components",
        "How many singular vectors hold the given share of the energy.",
        f"{PAPER_1} (k90, k95)",
        {"fraction": Parameter("Share of the energy.", "float", 0.9, low=0.01, high=1.0)},
        kind="discrete",
    ),
)
