"""The measures of coupling between harmfulness and refusal, as plain data."""

from __future__ import annotations

from geoaudit.measures.definition import CHAT, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, N_VALIDATION, PAPER_2

_COUPLING = "geoaudit.measures.coupling"
_UNIT = "coupling in [0, 1]"
_SHARED: dict[str, Parameter] = {
    "form": Parameter(
        "`identified`: H and R are the two main effects of what was asked × what the model did, of four cells of at "
        "least 20 prompts each. `paper`: harmful − harmless, and refused − complied prompts pooled at the selected "
        "carrier, which holds a share of H.",
        "choice",
        "identified",
        choices=("identified", "paper"),
    ),
    "h_position": Parameter(
        "Where H is read: −1 is the last token of the prompt, `t_inst` the last of the instruction.",
        "position",
        -1,
    ),
    "r_position": Parameter(
        "The same of R, in the form `identified`; the papers' R is where the carrier is.", "position", -1
    ),
    "contrast": Parameter(
        "What candidates for the carrier are the difference of, in the form `paper`; with `harmful` R is H once more, "
        "which stops every bound.",
        "choice",
        "refused",
        choices=("refused", "harmful"),
    ),
    "direction": Parameter(
        "Form `paper`: whether only an admissible carrier counts as R, or also the `nearest`, marked *not admissible*.",
        "choice",
        "carrier",
        choices=("carrier", "nearest"),
    ),
    "n_train": N_TRAIN,
    "n_validation": N_VALIDATION,
    "chat": CHAT,
}
_AT = Parameter(
    "`own_layers`: each at the layer where it separates held-out prompts best (papers: H so, R at the carrier). "
    "`both_at_r`, `both_at_h`: both at that one's layer. `every_layer`: both at each layer, the mean over the layers "
    "where both are above the noise.",
    "choice",
    "own_layers",
    choices=("own_layers", "both_at_r", "both_at_h", "every_layer"),
)
_K = Parameter("Dimensions of the local subspaces (the papers print three angles).", "int", 3, low=1, high=16)
_ON_VALIDATION = Parameter(
    "Harmful and as many harmless validation prompts on which profiles are read; in the form `paper` candidates are "
    "scored on them too.",
    "int",
    low=8,
    high=72,
    profile=True,
)


def _coupling(name: str, title: str, says: str, source: str, *, unit: str = _UNIT, at: bool = True) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"{_COUPLING}:{name}",
        needs="geoaudit.measures.coupling_needs:for_coupling",
        unit=unit,
        kind="continuous",
        range=(0.0, 1.0),
        better="neither",
        says=says,
        says_not="That low coupling is safe or high coupling is not, nor that the two are separate mechanisms: R can "
        f"hold whatever else sets apart the prompts that are refused. {GEOMETRY_LIMIT}",
        source=f"{PAPER_2} ({source})",
        parameters={**({"at": _AT} if at else {}), "k": _K, **_SHARED},
    )


COUPLING: tuple[Measure, ...] = (
    _coupling(
        "c_cos",
        "Coupling of directions",
        "How far the harmfulness and the refusal contrast point the same or the opposite way: |cos|, without the noise "
        "that they share.",
        "Eq. 7",
    ),
    _coupling(
        "c_sub",
        "Coupling of subspaces",
        "How far the top-k subspaces that the two contrasts span over positions overlap: mean cos² of their angles.",
        "Eq. 8",
    ),
    _coupling(
        "hrci_repr",
        "HRCI, representational",
        "Half the coupling of directions and half that of subspaces.",
        "Eq. 9, the primary one of its third version",
    ),
    _coupling(
        "hrci_full",
        "HRCI with layers",
        "0.4 of either coupling and 0.2 of how near the two layers are, exp(−gap/4).",
        "Eq. 12, kept for continuity",
    ),
    _coupling(
        "layer_gap",
        "Layer gap of harmfulness and refusal",
        "How many layers lie between where the two contrasts are read, as a share of the depth.",
        "Eq. 10",
        unit="share of layers",
        at=False,
    ),
    Measure(
        name="representational_independence",
        title="Representational independence of H and R",
        function="geoaudit.measures.independence:representational_independence",
        needs="geoaudit.measures.independence_needs:for_independence",
        unit="squared cosine",
        kind="continuous",
        range=(0.0, 8.0),
        better="neither",
        says="How much ablating R at every site changes the cosine of H with each layer's input at the last token, "
        "and ablating H that of R: the mean squared change over the first 90 % of the layers, both added up; 0 is "
        "independent. Beside it stands what ablating matched control directions changes, and what taking the direction "
        "out of each layer's input comes to by itself.",
        says_not="That one causes the other, that refusing hangs on either, or that they are separate mechanisms where "
        "the value is low: a direction that no layer holds is independent of every other, and orthogonal directions "
        f"need not be. {GEOMETRY_LIMIT}",
        source="Wollschläger et al. 2025 (arXiv 2502.17420), representational independence; H and R as in "
        f"{PAPER_2}, controls are this project's",
        parameters={**_SHARED, "n_validation": _ON_VALIDATION},
    ),
)
