"""The causal matrix of arXiv 2606.16349: refusal and harmfulness, alone, together and apart, ablated and added.

Ten effects are read at once, so that the strongest looks strong by chance. Each cell's p-value is therefore adjusted by
max-T over all of them (Westfall & Young 1993): control i is drawn from the same random numbers in every cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoaudit.errors import NothingToMeasure
from geoaudit.measures.carrier import find
from geoaudit.measures.carrier_selection import shown
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.intervention_needs import CELLS, carrier_of, of_cell
from geoaudit.measures.interventions import Read, measured
from geoaudit.records import Measurement
from geoaudit.stats.randomisation import MaxT, max_t


def causal_matrix(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Δ_ctrl of one cell, nats, with the p-value that counts all cells.

    Raises:
        NothingToMeasure: the cell that is asked for has no direction, no controls or no finite scores.
    """
    found = find(carrier_of(parameters), evidence)
    cells = {name: _cell(of_cell(parameters, name), evidence) for name in CELLS}
    asked = cells[parameters["cell"]]
    if isinstance(asked, NothingToMeasure):
        raise asked
    names = [name for name, cell in cells.items() if isinstance(cell, Read)]
    reads = [cell for cell in cells.values() if isinstance(cell, Read)]
    adjusted = max_t(np.array([one.made.raw for one in reads]), np.stack([one.draws for one in reads], axis=1))
    place = names.index(parameters["cell"])
    rows = [_row(name, cells[name], adjusted, names) for name in CELLS]
    p = max(float(adjusted.step_down[place]), asked.tail)
    return measured(
        "causal_matrix",
        parameters,
        of_cell(parameters, parameters["cell"]),
        evidence,
        found,
        asked,
        p,
        {"edits": rows, "cell": parameters["cell"], "p_alone": shown(float(adjusted.raw[place]))},
    )


def _cell(parameters: Mapping[str, Any], evidence: Evidence) -> Read | NothingToMeasure:
    try:
        return Read.of(parameters, evidence)
    except NothingToMeasure as error:
        return error


def _row(name: str, cell: Read | NothingToMeasure, adjusted: MaxT, names: list[str]) -> dict[str, Any]:
    """A cell as the record keeps it."""
    operator, target = CELLS[name]
    row: dict[str, Any] = {"operator": operator, "target": target}
    if isinstance(cell, NothingToMeasure):
        return row | {"missing": str(cell)}
    place, made = names.index(name), cell.made
    return row | {
        "layer": cell.effects.layer,
        "effect": shown(made.raw),
        "sensitivity": shown(made.beyond),
        "low": shown(made.low),
        "high": shown(made.high),
        "kl": shown(float(cell.effects.kl.mean())),
        "p_alone": shown(float(adjusted.raw[place])),
        "p": shown(max(float(adjusted.step_down[place]), cell.tail)),
    }
