"""The measures of drift between checkpoints of a trajectory, as plain data."""

from __future__ import annotations

from geoaudit.measures.carrier_table import CARRIER_PARAMETERS
from geoaudit.measures.definition import CHAT, Kind, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, PAPER_1

_NEEDS = "geoaudit.measures.drift_needs"
_AGAINST = Parameter(
    "What the checkpoint is compared with: the `reference` of its trajectory (`--geoaudit-reference`, else the "
    "training manifest's, else the first), or the `previous` checkpoint. The reference itself has no such line.",
    "checkpoint",
    "reference",
    choices=("reference", "previous"),
)
_SUBSPACE: dict[str, Parameter] = {
    "against": _AGAINST,
    "k": Parameter("Dimensions of the subspaces.", "int", 3, low=1, high=16),
    "n_train": N_TRAIN,
    "chat": CHAT,
}
_CARRIERS: dict[str, Parameter] = {
    "against": _AGAINST,
    # one list of prompts for both checkpoints: a filter would leave others in each
    **{name: one for name, one in CARRIER_PARAMETERS.items() if name != "filtered"},
}
_WEAK = "Weak axes turn most and say least: read it beside the energies along the axes and the weighted angle. "


def _subspace(
    name: str, title: str, unit: str, most: float, says: str, says_not: str, source: str, **extra: Parameter
) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"geoaudit.measures.drift:{name}",
        needs=f"{_NEEDS}:for_subspaces",
        unit=unit,
        kind="continuous",
        range=(0.0, most),
        better="neither",
        says=says,
        says_not=says_not,
        source=source,
        parameters={**_SUBSPACE, **extra},
        version=2,
    )


def _carriers(
    name: str,
    title: str,
    unit: str,
    kind: Kind,
    bounds: tuple[float | None, float | None],
    says: str,
    says_not: str,
    *,
    module: str = "relocation",
    needs: str = "for_carriers",
    **extra: Parameter,
) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"geoaudit.measures.{module}:{name}",
        needs=f"{_NEEDS}:{needs}",
        unit=unit,
        kind=kind,
        range=bounds,
        better="neither",
        says=says,
        says_not=says_not,
        source=f"{PAPER_1} (carrier relocation, cosine to anchor); design of this project",
        parameters={**_CARRIERS, **extra},
    )


DRIFT: tuple[Measure, ...] = (
    _subspace(
        "principal_angle",
        "Principal angle to another checkpoint",
        "degrees",
        90.0,
        "How far one axis of the top-k subspace of harmful−harmless differences has turned since the other checkpoint.",
        _WEAK + GEOMETRY_LIMIT,
        f"{PAPER_1} (top-3 principal angles to the regime's reference); Knyazev & Argentati 2002",
        which=Parameter(
            "Which of the k angles, from the smallest on.",
            "choice",
            "largest",
            choices=("largest", "first", "second", "third"),
        ),
    ),
    _subspace(
        "energy_weighted_angle",
        "Energy-weighted angle to another checkpoint",
        "degrees",
        90.0,
        "How far the top-k subspace has turned, each principal angle weighted by the energy along its vectors.",
        GEOMETRY_LIMIT,
        "Σ ½(a_i + b_i) θ_i with a_i and b_i the shares of energy along the principal vectors; design of this project",
    ),
    _subspace(
        "projector_distance",
        "Projector distance to another checkpoint",
        "distance in [0, 1]",
        1.0,
        "How far apart the two top-k subspaces are as a whole: the root mean square of the sines of their angles.",
        GEOMETRY_LIMIT,
        "‖P − Q‖_F / sqrt(2k) of the projectors; design of this project",
    ),
    _carriers(
        "direction_cosine",
        "Cosine of the carrier to another checkpoint's",
        "cosine",
        "continuous",
        (-1.0, 1.0),
        "How alike the directions of the two carriers are.",
        "Whether the other's direction still works here: `carrier_transfer` tries it. " + GEOMETRY_LIMIT,
        site=Parameter(
            "`own`: each direction at its carrier's own site. `other`: both at the site of the other's carrier.",
            "choice",
            "own",
            choices=("own", "other"),
        ),
    ),
    _carriers(
        "carrier_relocation",
        "Relocation of the carrier",
        "layers (or positions) from the other's carrier",
        "discrete",
        (None, None),
        "How many layers later (positive) or earlier the rule selects the carrier than in the other checkpoint.",
        "Whether the carrier at the old place stopped working: the best place jumps between places that are nearly as "
        "good. A claim of reorganisation needs `carrier_transfer`. " + GEOMETRY_LIMIT,
        axis=Parameter("What has moved.", "choice", "layer", choices=("layer", "position")),
    ),
    _carriers(
        "carrier_score_drift",
        "Change of the carrier's score",
        "cosmic: S_total; arditi: nats",
        "continuous",
        (None, None),
        "The score that the rule gives this checkpoint's carrier minus that of the other's.",
        "Whether either score is better than that of doing nothing: COSMIC's has no zero. " + GEOMETRY_LIMIT,
    ),
    _carriers(
        "carrier_transfer",
        "Transfer of the other checkpoint's carrier",
        "share of the own carrier's effect",
        "continuous",
        (None, None),
        "What share of this carrier's own effect the other checkpoint's direction has here, at its own site: with the "
        "way back it tells drift-only (at least 0.8) from reorganised (both below 0.5) and lost.",
        "Anything where one of the two carriers does no more than KL-matched controls. The own effect is that of the "
        "best of many candidates on these prompts, which makes the share a little too small. " + GEOMETRY_LIMIT,
        module="transfer",
        needs="for_transfer",
        effect=Parameter(
            "`bypass`: how far ablating the direction lowers the refusal score of harmful prompts. `induce`: how far "
            "adding it raises that of harmless ones. In nats.",
            "choice",
            "bypass",
            choices=("bypass", "induce"),
        ),
    ),
)
