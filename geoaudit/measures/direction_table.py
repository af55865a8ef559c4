"""The measures of directions: norm, stability, separation, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

from geoaudit.measures.definition import CHAT, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, N_VALIDATION, PAPER_1, PAPER_2

_NEEDS = "geoaudit.measures.direction_needs"
_DIRECTIONS = "geoaudit.measures.direction"
_DIRECTION: dict[str, Parameter] = {
    "contrast": Parameter(
        "`harmful`: harmful − harmless prompts. `refused`: prompts that the model refuses − those that it answers, by "
        "its own judged completions (20 of each are needed).",
        "choice",
        "harmful",
        choices=("harmful", "refused"),
    ),
    "position": Parameter(
        "Where the direction is read: `t_inst`, the last token of the instruction (where arXiv 2507.11878 reads "
        "harmfulness), or a token behind it, −1 = last of the prompt (where it reads refusal).",
        "position",
        -1,
    ),
    "layer": Parameter("The layer (resid_pre, counted from 0). Needed.", "int", low=0),
    "n_train": N_TRAIN,
    "chat": CHAT,
}


def _direction(
    name: str,
    title: str,
    unit: str,
    bounds: tuple[float | None, float | None],
    says: str,
    says_not: str,
    source: str,
    extra: Mapping[str, Parameter] | None = None,
    needs: str = "for_direction",
) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"{_DIRECTIONS}:{name}",
        needs=f"{_NEEDS}:{needs}",
        unit=unit,
        kind="continuous",
        range=bounds,
        better="neither",
        says=says,
        says_not=says_not,
        source=source,
        parameters={**(extra or {}), **_DIRECTION},
    )


DIRECTION: tuple[Measure, ...] = (
    _direction(
        "direction_norm",
        "Norm of a direction",
        "activation units",
        (0.0, None),
        "How far apart the means of the two kinds of prompt are at one layer and position.",
        f"{GEOMETRY_LIMIT} Norms grow with depth, so compare them at one layer only.",
        f"{PAPER_1} Eq. 1; {PAPER_2} Eq. 5; arXiv 2406.11717 §2.3",
    ),
    _direction(
        "direction_split_half",
        "Split-half cosine of a direction",
        "cosine",
        (-1.0, 1.0),
        "How well the direction from one half of the prompts agrees with that from the other half.",
        f"{GEOMETRY_LIMIT} A stable direction may still do nothing.",
        "Mean over 100 random splits of the blocks of prompts",
    ),
    _direction(
        "direction_separation",
        "Separation by a direction",
        "AUROC in [0, 1], or d′ in standard deviations",
        (None, None),
        "How well the direction, taken on the train half, tells validation prompts of the two kinds apart.",
        f"{GEOMETRY_LIMIT} A direction that separates prompts need not be used by the model.",
        "Mann & Whitney 1947; Macmillan & Creelman 2005",
        {
            "statistic": Parameter(
                "`auroc`: share of pairs in the right order, ties as halves. `d_prime`: distance of the means in units "
                "of the spread, which keeps growing where the AUROC is 1.",
                "choice",
                "auroc",
                choices=("auroc", "d_prime"),
            ),
            "n_validation": N_VALIDATION,
        },
        needs="for_separation",
    ),
    _direction(
        "direction_cone",
        "Bootstrap cone of a direction",
        "degrees",
        (0.0, 180.0),
        "The angle around the direction within which 95 % of its redraws of prompts lie.",
        f"{GEOMETRY_LIMIT} Nor how it would look on another kind of prompt: only these were redrawn.",
        "Block bootstrap over prompts",
    ),
)
