"""The measures of beliefs of harmfulness and of refusal, and of the task that takes the two apart, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.measures.definition import CHAT, Measure, Parameter
from geoaudit.measures.geometry_parameters import GEOMETRY_LIMIT, N_TRAIN, N_VALIDATION

_NEEDS = "geoaudit.measures.beliefs_needs"
_BELIEFS = "geoaudit.measures.beliefs"
ZHAO = "arXiv 2507.11878"
GROUPS = (
    "harmful_refused",
    "harmful_answered",
    "harmless_refused",
    "harmless_answered",
    "scary_refused",
    "scary_answered",
)
"""What was asked (`scary`: safe requests that sound harmful), and what the model did by its own judged answers."""
_SETS: dict[str, Parameter] = {"n_train": N_TRAIN, "n_validation": N_VALIDATION, "chat": CHAT}
_GROUP = Parameter(
    "Prompts whose mean it is: what was asked (`scary`: safe requests that sound harmful) and what the model did, by "
    "its own judged answers. At least 20 are needed.",
    "choice",
    "harmful_answered",
    choices=GROUPS,
)


def _belief(
    name: str, title: str, says: str, says_not: str, source: str, parameters: Mapping[str, Parameter], **more: Any
) -> Measure:
    settings: dict[str, Any] = {
        "function": f"{_BELIEFS}:{name}",
        "needs": f"{_NEEDS}:for_beliefs",
        "unit": "difference of cosines",
        "kind": "continuous",
        "range": (-2.0, 2.0),
        "better": "neither",
        **more,
    }
    return Measure(
        name=name, title=title, says=says, says_not=says_not, source=source, parameters=parameters, **settings
    )


BELIEFS: tuple[Measure, ...] = (
    _belief(
        "harmfulness_belief",
        "Belief of harmfulness",
        "How much nearer a group of prompts lies, at the last token of the instruction, to harmful prompts that the "
        "model refuses than to harmless ones that it answers: the difference of two cosines, averaged over the layers.",
        "That the model uses it, nor that it is about harm: whatever sets the two kinds of prompt apart counts, their "
        f"wording too. {GEOMETRY_LIMIT}",
        f"{ZHAO} (Zhao et al. 2025), averaged over layers as in its published notebook",
        {"group": _GROUP, **_SETS},
    ),
    _belief(
        "refusal_belief",
        "Belief of refusal",
        "The same at the last token of the prompt, from which the answer is written.",
        f"That the model uses it: prompts may lie near refused ones and be answered. {GEOMETRY_LIMIT}",
        f"{ZHAO} (Zhao et al. 2025), averaged over layers as in its published notebook",
        {"group": _GROUP, **_SETS},
    ),
    _belief(
        "latent_guard",
        "Latent guard",
        "How well the belief of harmfulness tells harmful from harmless prompts that no centre was made of, whatever "
        "the model answers.",
        "That the model acts on it, or that a guard like this stands up to attacks or to prompts of another kind. "
        f"{GEOMETRY_LIMIT}",
        f"{ZHAO} (Latent Guard); Mann & Whitney 1947",
        {
            "statistic": Parameter(
                "`auroc`: share of pairs in the right order. `accuracy`: mean of the shares of harmful prompts with a "
                "belief above 0 and of harmless ones with a belief of at most 0 (balanced).",
                "choice",
                "auroc",
                choices=("auroc", "accuracy"),
            ),
            "prompts": Parameter(
                "`all`; `plain`: held-out harmful requests against validation and everyday ones; `scary`: unsafe "
                "requests against safe ones that sound like them, which are matched in form.",
                "choice",
                "all",
                choices=("all", "plain", "scary"),
            ),
            **_SETS,
        },
        unit="share (0.5 by chance)",
        range=(0.0, 1.0),
        better="higher",
    ),
    _belief(
        "knowing_compliance",
        "Harmful requests taken for harmful and answered",
        "The share of harmful requests whose belief of harmfulness is above 0 and that the model answers all the same.",
        "That the model means harm, or knows anything: the belief is a place between two groups of prompts.",
        f"{ZHAO}; four quadrants of what was asked and what the model did",
        _SETS,
        unit="share of harmful prompts",
        range=(0.0, 1.0),
        better="lower",
    ),
    _belief(
        "reply_inversion",
        "Reply inversion by harmfulness beyond refusal",
        'How much further adding the harmfulness direction moves the answer to "would it be harmful?" than adding '
        "the refusal direction does, each beyond directions that disturb harmless prompts as much.",
        "That the direction is the model's notion of harm: it may favour the word. Nor that the model would refuse or "
        "answer otherwise: nothing is generated, two words are weighed at one token.",
        f"{ZHAO} (reply inversion task), with wordings and controls of geoaudit's own",
        {
            "layer": Parameter(
                "The layer (resid_pre, counted from 0) that directions are added at. Needed.", "int", low=0
            ),
            "coefficient": Parameter(
                "How much of either direction, in units of the difference in means. It is added for harmless requests "
                "and taken away for harmful ones.",
                "float",
                1.0,
                low=0.0,
                high=16.0,
            ),
            "requests": Parameter(
                "Requests that the edited model is asked about: `harmless` ones, to be taken for harmful, or `harmful` "
                "ones, to be taken for harmless.",
                "choice",
                "harmless",
                choices=("harmless", "harmful"),
            ),
            "refusal_positions": Parameter(
                "Where the refusal direction is added: at the tokens of the request, as harmfulness is, or at `all`.",
                "choice",
                "instruction",
                choices=("instruction", "all"),
            ),
            **_SETS,
        },
        function="geoaudit.measures.reply_inversion:reply_inversion",
        needs=f"{_NEEDS}:for_inversion",
        unit="nats",
        range=(None, None),
    ),
)
