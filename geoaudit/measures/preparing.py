"""What an intervention edits into the model: its target, its controls, and what is shown beside them.

Whatever is read under these edits (scores, completions, damage) starts here, so that all of it is of the same edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.effects import Edited
from geoaudit.interventions.scopes import Scope
from geoaudit.measures.intervention_controls import Controls, controls_of, edited
from geoaudit.measures.intervention_targets import Target, target_of
from geoaudit.measures.needs import Intervention
from geoaudit.measures.searching import in_use, scorer_of_search

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered
    from geoaudit.model.hooks import Edit

Floats = NDArray[np.float64]

MATCHED_ON = 8
"""Harmless validation prompts on which KL is measured and doses are matched, at most."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The edits of an intervention, before anything is known of what they do."""

    target: Target
    edit: Edited
    """The target, as one edit."""
    controls: Controls
    """What stands beside it."""
    few: list[Rendered]
    """Harmless prompts on which KL is measured and doses are matched."""
    refusal_ids: list[int]
    low_layers: tuple[int, ...]
    """Of the search that R is from, as its passes take them."""
    context: str
    """Hash of the search that R is from."""

    @property
    def matched(self) -> Edited:
        """The controls that decide, in the order of `Effects.deciding`."""
        return self.controls.edits

    @property
    def beside(self) -> Mapping[str, tuple[Edited, Floats]]:
        """Kind -> further controls, at doses that are given."""
        return self.controls.beside


def prepared(bench: Bench, need: Intervention) -> Prepared:
    """The edits of a need; made once a bench.

    Raises:
        NothingToMeasure: no direction to edit, or no controls beside it (check `uncontrolled`).
    """
    found: Prepared | None = bench.edits.get(need)
    if found is None:
        found = bench.edits[need] = _prepared(bench, need)
    return found


def _prepared(bench: Bench, need: Intervention) -> Prepared:
    scorer = scorer_of_search(bench, need.search)
    place = in_use(bench.fulfil(need.search), need.selecting, need.direction)
    target = target_of(bench, need, scorer, place)
    edit = edited(need, target, target.rows[None] if need.operator == "ablate" else target.vector[None, None])
    controls = controls_of(bench, need, target, scorer.field, place)
    return Prepared(
        target,
        edit,
        controls,
        list(scorer.harmless[:MATCHED_ON]),
        scorer.refusal_ids,
        scorer.field.low_layers,
        scorer.context,
    )


def alone(edits: Edited, index: int, dose: float) -> tuple[Edit, Scope]:
    """One of several edits, as `interventions.applying.applied` takes it: on a stream [n, tokens, d], and where."""
    edit = edits.some([index]).applied(np.array([dose]))
    layers: Literal["every_site"] | tuple[int, ...] = "every_site" if edits.layer is None else (edits.layer,)
    scope = Scope(layers, "all_but_first" if edits.spare_first else "all")
    return lambda x: edit(x.reshape(1, -1, x.shape[-1])).reshape(x.shape), scope
