"""What a line of a suite can say of a whole trajectory: the rules of `across: trajectory`, and how they are written.

::

    never_above: 0.05                                          at no step
    never_below: 0.5
    first_failing_step: {above: 0.05, not_before: 250}         up to step 250 the bound holds
    first_failing_step: {above: 0.05, by: 500}                 by step 500 it no longer does
    monotone: rising                                           never falls back
    monotone: {direction: rising, slack: 0.05}                 never by more than 0.05
    trend: falling                                             Spearman's rank correlation with the order of the steps
    trend: {direction: falling, rho: 0.5}                      of 0.5 or more in size
    change_point: falling                                      one jump
    change_point: {direction: falling, between: [100, 250]}    after step 100 and no later than step 250
    change_point: {direction: either, size: 5}                 of 5 or more
    relocates: {from: late, to: early, by: 250}                starts in the late layers, from step 250 on in the early
    relocates: {from: [20, 31], to: [0, 3]}                    the same in numbers
    goes_with: {measure: over_refusal_rate, direction: same}   Spearman's rank correlation with another measure
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from geoaudit.audit.nodes import Nodes
from geoaudit.audit.values import impossible, listed
from geoaudit.errors import did_you_mean
from geoaudit.measures.definition import Measure

Rule = Literal[
    "never_above", "never_below", "first_failing_step", "monotone", "trend", "change_point", "relocates", "goes_with"
]
RULES: tuple[Rule, ...] = (
    "never_above",
    "never_below",
    "first_failing_step",
    "monotone",
    "trend",
    "change_point",
    "relocates",
    "goes_with",
)
ABOUT: Mapping[Rule, str] = {
    "never_above": "At no checkpoint of the trajectory is the value above this.",
    "never_below": "At no checkpoint of the trajectory is the value below this.",
    "first_failing_step": "From which step on a bound fails: none before `not_before`, some checkpoint up to `by`.",
    "monotone": "No checkpoint falls back behind an earlier one by more than `slack` (0 where it is left out).",
    "trend": "Spearman's rank correlation with the steps has this sign, and `rho` or more in size.",
    "change_point": "One jump, told from a drift: its direction, its place `between` two steps, its least `size`.",
    "relocates": "The first checkpoint lies in `from`; from step `by` on (without it: at the last) all lie in `to`.",
    "goes_with": "Spearman's rank correlation with another measure of the same checkpoints has this sign.",
}
"""Each in a sentence, for editors and readers."""
KEYS: Mapping[Rule, tuple[str, ...]] = {
    "first_failing_step": ("above", "below", "not_before", "by"),
    "monotone": ("direction", "slack"),
    "trend": ("direction", "rho"),
    "change_point": ("direction", "between", "size"),
    "relocates": ("from", "to", "by"),
    "goes_with": ("measure", "with", "direction", "rho"),
}
"""The keys of the rules that take more than a number."""
DIRECTIONS: Mapping[Rule, tuple[str, ...]] = {
    "monotone": ("rising", "falling"),
    "trend": ("rising", "falling"),
    "change_point": ("rising", "falling", "either"),
    "goes_with": ("same", "opposite"),
}
PARTS = ("early", "middle", "late")
"""Thirds of a model's layers: of L, counted from 0, *early* are those below L/3, *late* those from 2L/3 on."""
IN_LAYERS = ("carrier_layer",)
"""Measures whose value is a layer, so that a part of the depth can be named."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Companion:
    """The other measure of `goes_with`: measured at the same checkpoints as the line's own."""

    measure: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As `Assertion.parameters`."""


@dataclass(frozen=True)
class Across:
    """One rule with its options. Options that a rule does not have are None."""

    rule: Rule
    limit: float | None = None
    """Of `never_above`, `never_below` and `first_failing_step`."""
    fails: Literal["above", "below"] | None = None
    """On which side of the limit a checkpoint fails."""
    not_before: int | None = None
    """No checkpoint before this step fails."""
    by: int | None = None
    """`first_failing_step`: some checkpoint up to this step fails. `relocates`: from this step on."""
    direction: str | None = None
    slack: float | None = None
    """`monotone`: how far a later value may fall back behind an earlier one, from 0 on."""
    rho: float | None = None
    """`trend` and `goes_with`: least size of Spearman's ρ, in [0, 1)."""
    between: tuple[int, int] | None = None
    """`change_point`: the last checkpoint before the jump is at the first of these steps or later, and the first after
    it at the second or earlier."""
    size: float | None = None
    """`change_point`: least size of the jump, from 0 on."""
    start: str | Range | None = None
    """`relocates`: where the first checkpoint lies, a part of the depth or a range."""
    end: str | Range | None = None
    """`relocates`: where the checkpoints from `by` on lie; the last one without `by`."""
    other: Companion | None = None
    """`goes_with`: what else must be measured at every checkpoint."""

    @property
    def bound(self) -> tuple[float, ...]:
        """The numbers of a rule, as an assertion keeps them: never empty."""
        match self.rule:
            case "monotone":
                return (self.slack or 0.0,)
            case "trend" | "goes_with":
                return (self.rho or 0.0,)
            case "change_point":
                return (self.size or 0.0,)
            case "relocates":
                return self.end if isinstance(self.end, tuple) else (float(self.by or 0),)
        assert self.limit is not None
        return (self.limit,)

    @property
    def needs_steps(self) -> bool:
        """Whether the order of the checkpoints matters."""
        return self.rule not in ("never_above", "never_below", "goes_with")

    @property
    def says(self) -> str:
        """The rule in words, to follow a measure's name: `is never above 0.05`."""
        match self.rule:
            case "never_above" | "never_below":
                return f"is never {self.fails} {self.limit:g}"
            case "first_failing_step":
                when = [f"not {self.fails} {self.limit:g} before step {self.not_before}"] * (
                    self.not_before is not None
                )
                when += [f"{self.fails} {self.limit:g} by step {self.by}"] * (self.by is not None)
                return f"is {' and '.join(when)}"
            case "monotone":
                back = "falls" if self.direction == "rising" else "rises"
                return f"never {back}" + (f" by more than {self.slack:g}" if self.slack else "")
            case "trend":
                return f"has a {self.direction} trend" + (f" of ρ {self.rho:g} or more" if self.rho else "")
            case "change_point":
                way = "" if self.direction == "either" else f" {'up' if self.direction == 'rising' else 'down'}"
                size = f" by {self.size:g} or more" if self.size else ""
                where = f" between steps {self.between[0]} and {self.between[1]}" if self.between else ""
                return f"jumps{way}{size}{where}"
            case "relocates":
                until = "in the end" if self.by is None else f"from step {self.by} on"
                return f"moves from {_where(self.start)} to {_where(self.end)} ({until})"
        assert self.other is not None
        least = f" (ρ {self.rho:g} or more)" if self.rho else ""
        return f"goes with {self.other.measure} in the {self.direction} direction{least}"

    def to_json(self) -> dict[str, Any]:
        """The options that are set, as a record keeps them."""
        names = {"start": "from", "end": "to"}
        found = {
            names.get(name, name): list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if value is not None and name not in ("rule", "other")
        }
        return found if self.other is None else {**found, "measure": self.other.measure}


def _where(place: str | Range | None) -> str:
    return f"[{place[0]:g}, {place[1]:g}]" if isinstance(place, tuple) else f"the {place} layers"


class RuleNodes(Nodes):
    """Reads the rules."""

    def rule(self, node: yaml.Node, rule: Rule, measure: Measure) -> Across:
        """The rule that a node is the value of; `goes_with` without its companion, which is a measure of its own.

        Raises:
            SuiteError: for anything that is not exactly the grammar.
        """
        match rule:
            case "never_above" | "never_below":
                fails: Literal["above", "below"] = "above" if rule == "never_above" else "below"
                return Across(rule, limit=self._limit(node, rule, measure, fails), fails=fails)
            case "first_failing_step":
                return self._first_failing(node, measure)
            case "relocates":
                return self._relocates(node, measure)
        if isinstance(node, yaml.ScalarNode) and rule != "goes_with":
            return Across(rule, direction=self._direction(node, rule))
        keys = self.mapping(node, rule, KEYS[rule])
        if "direction" not in keys:
            raise self.error(node, f"{rule} has no key 'direction', {listed(DIRECTIONS[rule])}")
        direction = self._direction(keys["direction"][1], rule)
        if rule == "monotone":
            slack = self._from_zero(keys, "slack", measure)
            return Across(rule, direction=direction, slack=slack)
        if rule == "change_point":
            between = self._between_steps(keys["between"][1]) if "between" in keys else None
            return Across(rule, direction=direction, between=between, size=self._from_zero(keys, "size", measure))
        rho = self.number(keys["rho"][1], "rho") if "rho" in keys else None
        if rho is not None and not 0 <= rho < 1:
            raise self.error(
                keys["rho"][1], f"rho is the least size of a rank correlation, from 0 to below 1, got {rho}"
            )
        return Across(rule, direction=direction, rho=rho)

    def _limit(self, node: yaml.Node, what: str, measure: Measure, fails: str) -> float:
        """A bound that some value of the measure keeps and another does not."""
        value = self.number(node, what)
        if (why := impossible(value, measure)) is not None:
            raise self.error(node, why)
        if value == measure.range[1 if fails == "above" else 0]:
            raise self.error(node, f"the bound says nothing: no value of {measure.name} is {fails} {value:g}")
        return value

    def _first_failing(self, node: yaml.Node, measure: Measure) -> Across:
        keys = self.mapping(node, "first_failing_step", KEYS["first_failing_step"])
        sides = [side for side in ("above", "below") if side in keys]
        if len(sides) != 1:
            raise self.error(
                node,
                "first_failing_step needs exactly one of above, below (what failing is), got "
                f"{' and '.join(sides) or 'none'}",
            )
        if "not_before" not in keys and "by" not in keys:
            raise self.error(
                node,
                "first_failing_step needs not_before (up to which step the bound holds) or by (by which step it fails)",
            )
        fails: Literal["above", "below"] = "above" if sides[0] == "above" else "below"
        not_before = self._step(keys["not_before"][1], "not_before") if "not_before" in keys else None
        by = self._step(keys["by"][1], "by") if "by" in keys else None
        if not_before == 0:
            raise self.error(keys["not_before"][1], "the bound says nothing: no step is before step 0")
        if not_before is not None and by is not None and by < not_before:
            raise self.error(keys["by"][1], f"no step is from {not_before} on and by {by}: by is before not_before")
        limit = self._limit(keys[fails][1], fails, measure, fails)
        return Across("first_failing_step", limit=limit, fails=fails, not_before=not_before, by=by)

    def _relocates(self, node: yaml.Node, measure: Measure) -> Across:
        if measure.kind != "discrete":
            raise self.error(
                node, f"relocates is for places (discrete measures); {measure.name} is {measure.kind}: use change_point"
            )
        keys = self.mapping(node, "relocates", KEYS["relocates"])
        for required in ("from", "to"):
            if required not in keys:
                raise self.error(node, f"relocates has no key {required!r}: {self._places(measure)}")
        start, end = (self._place(keys[name][1], name, measure) for name in ("from", "to"))
        together = isinstance(start, tuple) and isinstance(end, tuple) and start[0] <= end[1] and end[0] <= start[1]
        if start == end or together:
            raise self.error(keys["to"][1], "from and to have places in common, so that staying there would be a move")
        by = self._step(keys["by"][1], "by") if "by" in keys else None
        if by == 0:
            raise self.error(keys["by"][1], "by is a step after the first one, got 0")
        return Across("relocates", start=start, end=end, by=by)

    def _places(self, measure: Measure) -> str:
        words = f"{', '.join(PARTS)} (thirds of the layers), or " if measure.name in IN_LAYERS else ""
        return f"{words}[low, high]"

    def _place(self, node: yaml.Node, name: str, measure: Measure) -> str | Range:
        if isinstance(node, yaml.SequenceNode):
            if len(node.value) != 2:
                raise self.error(node, f"{name} takes [low, high], got {self.shown(node)}")
            low, high = (self.number(item, name) for item in node.value)
            for item, value in zip(node.value, (low, high), strict=True):
                if (why := impossible(value, measure)) is not None:
                    raise self.error(item, why)
            if low > high:
                raise self.error(node, f"{name} [{low:g}, {high:g}] is empty: low is above high")
            return low, high
        word = self.scalar(node, name)
        if word not in PARTS or measure.name not in IN_LAYERS:
            near = did_you_mean(str(word), PARTS) if measure.name in IN_LAYERS else ""
            raise self.error(node, f"{name} cannot be {word!r}{near}; {self._places(measure)}")
        return str(word)

    def _direction(self, node: yaml.Node, rule: Rule) -> str:
        word = self.scalar(node, rule)
        if word not in DIRECTIONS[rule]:
            near = did_you_mean(str(word), DIRECTIONS[rule])
            raise self.error(node, f"{rule} cannot be {word!r}{near}; {listed(DIRECTIONS[rule])}")
        return str(word)

    def _from_zero(self, keys: dict[str, tuple[yaml.Node, yaml.Node]], name: str, measure: Measure) -> float | None:
        """A difference of two values of the measure that can be, without its sign."""
        if name not in keys:
            return None
        node = keys[name][1]
        value = self.number(node, name)
        low, high = measure.range
        if value < 0 or (low is not None and high is not None and value >= high - low):
            top = "" if low is None or high is None else f" and below {high - low:g}"
            raise self.error(
                node, f"{name} is a difference of two values of {measure.name}, from 0 on{top}, got {value:g}"
            )
        return value

    def _between_steps(self, node: yaml.Node) -> tuple[int, int]:
        if not isinstance(node, yaml.SequenceNode) or len(node.value) != 2:
            raise self.error(node, f"between takes two steps such as [100, 250], got {self.shown(node)}")
        first, last = (self._step(item, "between") for item in node.value)
        if first >= last:
            raise self.error(node, f"between [{first}, {last}] has no room for a jump: two steps, the earlier first")
        return first, last

    def _step(self, node: yaml.Node, what: str) -> int:
        """A step of training."""
        value = self.number(node, what)
        if value != int(value) or value < 0:
            raise self.error(node, f"{what} is a step, a whole number from 0 on, got {value:g}")
        return int(value)
