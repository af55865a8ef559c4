"""The measures of refusal carriers, as plain data."""

from __future__ import annotations

from geoaudit.measures.carrier_needs import PRESETS
from geoaudit.measures.definition import CHAT, Kind, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, N_VALIDATION, PAPER_1

_NEEDS = "geoaudit.measures.carrier_needs"
_CARRIERS = "geoaudit.measures.carrier"
_DEFAULT = PRESETS["geoaudit"]


def _choice(name: str, what: str, *choices: str) -> Parameter:
    return Parameter(what, "choice", _DEFAULT[name], choices=choices)


def _number(name: str, what: str, low: float, high: float) -> Parameter:
    return Parameter(what, "float", _DEFAULT[name], low=low, high=high)


def _switch(name: str, what: str) -> Parameter:
    return Parameter(what, "bool", _DEFAULT[name])


CARRIER_PARAMETERS: dict[str, Parameter] = {
    "preset": Parameter(
        "Where the defaults of the other parameters come from: `geoaudit`; `paper` (arXiv 2604.27019: the raw score, "
        "its 180 + 100 prompts cut to the 176 + 72 there are); `arditi` (arXiv 2406.11717: its rule on 128 + 32 "
        "prompts filtered by refusal score); `cosmic` (arXiv 2506.00085: the raw score of the affine edit without the "
        "KL term, with the peak filter of its code, 176 + 72 prompts). What is given beside it wins.",
        "choice",
        "geoaudit",
        choices=tuple(PRESETS),
    ),
    "rule": _choice(
        "rule",
        "`cosmic`: highest S_refuse + S_comply − β·KL (arXiv 2604.27019 Eq. 2, β = 1, on COSMIC's cosines). "
        "`arditi`: lowest bypass score among inducing candidates (arXiv 2406.11717). `cosmic-affine`: as cosmic, on "
        "COSMIC's affine edit at the candidate's own layer.",
        "cosmic",
        "arditi",
        "cosmic-affine",
    ),
    "direction": Parameter(
        "`carrier`: only an admissible direction counts. `nearest`: where nothing is admissible, the inducing "
        "candidate of least KL stands in, marked *not admissible*.",
        "choice",
        "carrier",
        choices=("carrier", "nearest"),
    ),
    "kl_budget": _number(
        "kl_budget", "Largest mean KL(base ‖ ablated) in nats on harmless prompts that is still admissible.", 0.0, 5.0
    ),
    "frontier_kl": _number(
        "frontier_kl",
        "Nats up to which the frontier of KL against effect is complete; candidates beyond it are screened out. "
        "Never below the budget.",
        0.0,
        5.0,
    ),
    "max_layer_fraction": _number(
        "max_layer_fraction",
        "Layers from int(fraction · L) on are not admissible (the references' 0.8).",
        0.05,
        1.0,
    ),
    "beta": _number("beta", "cosmic: weight of the KL in the total (the papers: 1, COSMIC itself: 0).", 0.0, 100.0),
    "induce_threshold": _number(
        "induce_threshold",
        "arditi: least mean refusal score of harmless prompts with the candidate added, in nats.",
        -20.0,
        20.0,
    ),
    "raw": _switch(
        "raw",
        "cosmic: choose by the published score alone, without the demand that S_refuse be above c₀. A choice whose "
        "total is not above 2c₀ (no intervention) is still stopped.",
    ),
    "peaks": _switch(
        "peaks",
        "cosmic: at position −1 drop layers later than both median peak layers of the other positions (COSMIC's "
        "code); every layer is then scored in full.",
    ),
    "filtered": _switch(
        "filtered",
        "Keep only harmful prompts with a refusal score above 0 and harmless ones below it (the refusal-direction "
        "reference); fewer than 20 of a kind stop the verdict. Not for trajectories: the prompts then differ.",
    ),
    "scope": _choice(
        "scope",
        "Where ablation acts: every site and token (the references), or sparing the first token, where attention "
        "parks.",
        "every_site",
        "every_site_but_first_token",
    ),
    "operator": Parameter(
        "`linear`: directional ablation at every site, addition at the candidate's layer. `affine`: COSMIC's edit "
        "around the harmless mean, at the candidate's layer alone (implied by rule cosmic-affine).",
        "choice",
        "linear",
        choices=("linear", "affine"),
    ),
    "contrast": _choice(
        "contrast",
        "What candidates are the difference of: `harmful` − harmless prompts, or `refused` − answered ones by the "
        "model's own judged answers (arXiv 2606.16349).",
        "harmful",
        "refused",
    ),
    "search": _choice(
        "search",
        "`frontier`: all scores of what could be admissible, KL and effect of the rest up to frontier_kl. `winner`: "
        "the winner alone, fastest, without the interval of its place. `exhaustive`: every score of every candidate.",
        "frontier",
        "winner",
        "exhaustive",
    ),
    "n_train": N_TRAIN,
    "n_validation": N_VALIDATION,
    "chat": CHAT,
}
"""Also for measures of other families that start from a carrier."""


def _carrier(
    name: str, title: str, unit: str, kind: Kind, bounds: tuple[float | None, float | None], says: str
) -> Measure:
    return Measure(
        name=name,
        title=title,
        function=f"{_CARRIERS}:{name}",
        needs=f"{_NEEDS}:for_carrier",
        unit=unit,
        kind=kind,
        range=bounds,
        better="neither",
        says=says,
        says_not=GEOMETRY_LIMIT,
        source=f"{PAPER_1}; arXiv 2406.11717 §2; COSMIC (arXiv 2506.00085)",
        parameters=CARRIER_PARAMETERS,
        version=5,
    )


CARRIER: tuple[Measure, ...] = (
    _carrier(
        "carrier_layer",
        "Refusal-carrier layer",
        "layer, counted from 0 (resid_pre)",
        "discrete",
        (0, None),
        "The layer of the direction that the rule selects as the carrier of refusal.",
    ),
    _carrier(
        "carrier_position",
        "Refusal-carrier position",
        "template token, −1 = last of the prompt",
        "discrete",
        (None, -1),
        "The post-instruction position of the direction that the rule selects.",
    ),
    _carrier(
        "carrier_score",
        "Refusal-carrier score",
        "cosmic: S_total, at most 2; arditi: bypass score in nats",
        "continuous",
        (None, None),
        "How good the selected direction is by its own rule.",
    ),
    _carrier(
        "carrier_kl",
        "KL of the refusal carrier",
        "nats",
        "continuous",
        (0.0, None),
        "How much ablating the selected direction shifts the next token on harmless prompts.",
    ),
    _carrier(
        "carrier_s_refuse",
        "S_refuse of the carrier",
        "cosine",
        "continuous",
        (-1.0, 1.0),
        "How far adding the direction moves harmless prompts to the harmful side (COSMIC). No intervention scores c₀.",
    ),
    _carrier(
        "carrier_s_comply",
        "S_comply of the carrier",
        "cosine",
        "continuous",
        (-1.0, 1.0),
        "How far ablating the direction moves harmful prompts to the harmless side (COSMIC). "
        "No intervention scores c₀.",
    ),
    _carrier(
        "carrier_norm",
        "Norm of the carrier",
        "activation units",
        "continuous",
        (0.0, None),
        "The length of the selected difference in means before it is normalised.",
    ),
    Measure(
        name="causal_rank",
        title="Causal rank of refusal",
        function="geoaudit.measures.causal_rank:causal_rank",
        needs=f"{_NEEDS}:for_causal_rank",
        unit="directions",
        kind="discrete",
        range=(1, None),
        better="neither",
        says="How many of the top directions at the carrier's layer must be ablated to lower refusal on held-out "
        "prompts nearly as far as any number of them does, beyond controls that disturb the model as much.",
        says_not=GEOMETRY_LIMIT,
        source=f"{PAPER_1}, top-k ablation; Wollschläger et al. 2025 (refusal cones)",
        version=3,
        parameters={
            **CARRIER_PARAMETERS,
            "fraction": Parameter(
                "Share of the plateau effect that the least k must reach.", "float", 0.9, low=0.5, high=1.0
            ),
            "n_held_out": Parameter(
                "Held-out harmful prompts, from the start of the source's fixed order.", "int", 32, low=8, high=128
            ),
        },
    ),
)
