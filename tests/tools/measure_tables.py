"""assertions/measures.md, made from the one table of measures.

python tests/tools/measure_tables.py            # rewrites it
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geoaudit.measures.behaviour_table import BEHAVIOUR
from geoaudit.measures.beliefs_table import BELIEFS
from geoaudit.measures.carrier_table import CARRIER
from geoaudit.measures.coupling_table import COUPLING
from geoaudit.measures.definition import Measure, Parameter
from geoaudit.measures.direction_table import DIRECTION
from geoaudit.measures.drift_table import DRIFT
from geoaudit.measures.intervention_table import INTERVENTION
from geoaudit.measures.spectrum_table import SPECTRUM

PAGE = Path(__file__).resolve().parents[2] / "assertions" / "measures.md"
FAMILIES: dict[str, Iterable[Measure]] = {
    "Behaviour": BEHAVIOUR,
    "Refusal carrier": CARRIER,
    "Rank": SPECTRUM,
    "Directions": DIRECTION,
    "Coupling of harmfulness and refusal": COUPLING,
    "Drift against another checkpoint": DRIFT,
    "Interventions": INTERVENTION,
    "Beliefs": BELIEFS,
}
HEAD = """# Measures

What a line of a suite can be about, and what its `with` can hold. Made from the table that the program reads;
`geoaudit measures NAME` prints one measure with its keys.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, measures in FAMILIES.items():
        parts.append(f"## {title}\n")
        for measure in measures:
            parts.append(_measure(measure))
        parts.append("| key of `with` | of | default | meaning |\n|---|---|---|---|")
        parts[-1] += "".join(f"\n{row}" for row in _keys(list(measures))) + "\n"
    return "\n".join(parts)


def _measure(measure: Measure) -> str:
    low, high = measure.range
    reach = f"{'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
    better = {"neither": "neither is better", "lower": "lower is better", "higher": "higher is better"}[measure.better]
    return (
        f"### `{measure.name}`\n\n{measure.title}: {measure.says}\n\n"
        f"* Does not say: {measure.says_not}\n"
        f"* Unit: {measure.unit}; {measure.kind}, {reach}; {better}.\n"
        f"* Source: {measure.source.rstrip(chr(46))}.\n"
    )


def _keys(measures: list[Measure]) -> list[str]:
    """A row for each meaning that a key has in a family."""
    of: dict[tuple[str, str, str], list[str]] = {}
    for measure in measures:
        for name, parameter in measure.parameters.items():
            of.setdefault((name, _default(parameter), parameter.what), []).append(measure.name)
    rows = []
    for (name, default, what), names in sorted(of.items()):
        which = "all" if len(names) == len(measures) else ", ".join(f"`{one}`" for one in names)
        if len(measures) - len(names) in (1, 2) and len(names) > 3:
            which = "all but " + ", ".join(f"`{one.name}`" for one in measures if one.name not in names)
        rows.append(f"| `{name}` | {which} | {default} | {what.replace('|', chr(92) + '|')} |")
    return rows


def _default(parameter: Parameter) -> str:
    if parameter.profile:
        return "the profile's"
    if parameter.default is None or parameter.default == "":
        return "none"
    value = parameter.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
