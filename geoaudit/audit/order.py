"""In which order needs are fulfilled, over one checkpoint or several: pure.

A need of a checkpoint stands after those that it draws on, also where these are another checkpoint's. One model is in
memory at a time, so the order changes from one checkpoint to another as seldom as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from geoaudit.measures.needs import (
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Elsewhere,
    Examination,
    Intervention,
    Inversion,
    Judged,
    Need,
    Optimised,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)

PHASES: Mapping[type, str] = {
    Completions: "generate",
    Judged: "judge",
    Probe: "activations",
    Categories: "activations",
    Cells: "activations",
    Projections: "activations",
    Beliefs: "activations",
    CandidateSearch: "carrier search",
    Examination: "carrier controls",
    SubspaceAblation: "subspace ablation",
    Intervention: "intervention",
    EditedCompletions: "generate under edits",
    Damage: "damage",
    CosineProfiles: "cosine profiles",
    Inversion: "reply inversion",
    Elsewhere: "other checkpoint",
    Transfer: "carrier transfer",
    Optimised: "attack",
}
"""Kind of need -> what is done for it, in the order in which they are fulfilled: text, what judges say of it,
activations, interventions, adaptive attacks."""

Node = tuple[str, Need]
"""A checkpoint, by its name in the audit, and a need of it; never `Elsewhere`, which is a need of another."""
Family = Callable[[str], tuple[str, ...]]
"""The checkpoints that share refusal tokens with one, itself among them."""


def alone(name: str) -> tuple[str, ...]:
    """The family of a checkpoint that stands alone."""
    return (name,)


def node(checkpoint: str, need: Need) -> Node:
    """The need where it is fulfilled."""
    return node(need.checkpoint, need.need) if isinstance(need, Elsewhere) else (checkpoint, need)


def draws_on(one: Node, family: Family) -> tuple[Node, ...]:
    """What must be there before a need is fulfilled.

    A search draws on the answers of every checkpoint of the family: the refusal tokens come from all of them.
    """
    name, need = one
    own: tuple[Need, ...] = ()
    match need:
        case Completions(optimised=made) if made is not None:
            own = (made,)
        case Judged():
            own = (need.completions,)
        case Cells() | Beliefs():
            own = need.answered
        case Projections():
            own = (need.probe, *refused_and_complied(need), *(need.answered if need.contrast == "refused" else ()))
        case Inversion():
            own = (need.probe, Cells(need.probe.n_train, need.probe.chat))
        case CandidateSearch():
            answers = tuple((member, answered) for member in family(name) for answered in need.answered)
            return ((name, need.probe), *((name, cells) for cells in refused_and_complied(need)), *answers)
        case CosineProfiles():
            own = need.made_of
        case Examination():
            own = (need.search,)
        case SubspaceAblation() | Intervention():
            own = (need.search,)
        case EditedCompletions():
            own = (need.completions, need.intervention)
        case Damage():
            own = (need.answers, need.intervention)
        case Transfer():
            return (name, need.search), (need.source, need.search)
    return tuple(node(name, each) for each in own)


def refused_and_complied(need: CandidateSearch | Projections) -> tuple[Cells, ...]:
    """What directions of the contrast *refused* are the difference of."""
    return (Cells(need.probe.n_train, need.probe.chat),) if need.contrast == "refused" else ()


def ordered(wanted: Iterable[Node], family: Family = alone, last: str = "") -> list[Node]:
    """Everything wanted and all that it draws on, each once, after what it draws on.

    Args:
        wanted: needs where they are fulfilled (`node`).
        family: who shares refusal tokens with whom.
        last: the checkpoint that the wanted needs are mostly about: the others come first where the order is free.
    """
    drawn = _closure(wanted, family)
    phases = list(PHASES)
    left = sorted(drawn, key=lambda one: phases.index(type(one[1])))  # stable: in a phase as they were asked for
    found: dict[Node, None] = {}
    current = ""
    while left:
        ready = [one for one in left if drawn[one] <= found.keys()]
        here = [one for one in ready if one[0] == current]
        if not here:
            elsewhere = [one for one in ready if one[0] != last]
            here = elsewhere or ready
        current = here[0][0]
        found[here[0]] = None
        left.remove(here[0])
    return list(found)


def _closure(wanted: Iterable[Node], family: Family) -> dict[Node, frozenset[Node]]:
    """Each need that is reached -> what it draws on directly."""
    found: dict[Node, frozenset[Node]] = {}

    def add(one: Node) -> None:
        if one not in found:
            drawn = draws_on(one, family)
            found[one] = frozenset(drawn)
            for each in drawn:
                add(each)

    for one in wanted:
        add(one)
    return found
