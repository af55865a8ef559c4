"""The suite grammar: a closed YAML file of assertions, read with the place of every word.

No code, no templating, no environment, no tags or anchors. Whatever is wrong is a `SuiteError` that starts with
file:line:column and names the nearest valid word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml

from geoaudit.audit.parameter_nodes import ParameterNodes
from geoaudit.audit.rules import KEYS, RULES, Across, Companion, Rule, RuleNodes
from geoaudit.audit.values import impossible, impossible_change, listed
from geoaudit.errors import SuiteError, did_you_mean
from geoaudit.measures.definition import Measure
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.table import MEASURES
from geoaudit.records import digest

VERSION = 1
Bound = Literal["at_most", "at_least", "between", "equals"]
Change = Literal["change_at_most", "change_at_least"]
Comparator = Bound | Change | Rule
COMPARATORS: tuple[Bound, ...] = ("at_most", "at_least", "between", "equals")
"""Bounds on what one checkpoint measures."""
CHANGES: tuple[Change, ...] = ("change_at_most", "change_at_least")
"""Margins of what changed against another checkpoint."""
Against = Literal["baseline", "reference"]
AGAINST: tuple[Against, ...] = ("baseline", "reference")
SUITE_KEYS = ("geoaudit", "suite", "about", "gate", "chat", "assertions")
ASSERTION_KEYS = (
    *("id", "measure", "with", *COMPARATORS, *CHANGES, "against", "across", *RULES, "because"),
    *("checkpoints", "steps"),
)
ID = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
Keys = dict[str, tuple[yaml.Node, yaml.Node]]


@dataclass(frozen=True)
class Assertion:
    """One line of a suite: what must be true of which checkpoints."""

    id: str
    measure: str
    parameters: Mapping[str, Any]
    """As written in the suite; sources as `Source`. Defaults come from the table and the profile."""
    comparator: Comparator
    """With `across` the rule's name."""
    bound: tuple[float, ...]
    """One number; two for `between`, and for `relocates` with numbers."""
    because: str
    checkpoints: str | None
    """A glob over checkpoint names, or None for all."""
    steps: tuple[int, ...] | None
    file: str
    line: int
    against: Against | None = None
    """What `change_at_most` and `change_at_least` compare with; None for every other comparator. It is not the
    parameter of the same name that measures of two checkpoints have in `with`."""
    across: Across | None = None
    """The rule of a line about a whole trajectory, which is decided once for each."""

    def concerns(self, checkpoint: str) -> bool:
        """Whether this line is about the checkpoint of that name (its step is the number that the name ends in)."""
        if self.checkpoints is not None and not fnmatchcase(checkpoint, self.checkpoints):
            return False
        if self.steps is None:
            return True
        step = re.search(r"(\d+)\Z", checkpoint)
        return step is not None and int(step.group(1)) in self.steps

    @property
    def asked(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The measures that it is decided on, with their parameters: one, and with `goes_with` another."""
        own: list[tuple[str, Mapping[str, Any]]] = [(self.measure, self.parameters)]
        other = self.across.other if self.across is not None else None
        return own if other is None else [*own, (other.measure, other.parameters)]

    @property
    def called(self) -> str:
        """The line with what it bounds and its file, as a plan names it."""
        bound = f"{self.comparator} {' '.join(f'{value:g}' for value in self.bound)}"
        said = bound if self.across is None else self.across.says
        return f"{self.id} ({self.measure} {said}, {Path(self.file).name})"


@dataclass(frozen=True)
class Suite:
    """A parsed suite file."""

    name: str
    about: str
    file: str
    sha256: str
    assertions: tuple[Assertion, ...]
    gate: bool = False
    """Whether a release hangs on it: bounds on attacks then need more than one condition."""


def read(path: Path) -> Suite:
    """Parse a suite file.

    Raises:
        SuiteError: for anything that is not exactly the grammar.
    """
    reader = _Reader(path)
    text = reader.read()
    root = reader.compose(text)
    if root is None:
        raise SuiteError(f"{path}:1:1: the suite is empty; it starts with `geoaudit: {VERSION}`")
    return reader.suite(root, digest(text))


class _Reader(RuleNodes, ParameterNodes):
    """The suite's words."""

    def suite(self, root: yaml.Node, sha256: str) -> Suite:
        keys = self.mapping(root, "the suite", SUITE_KEYS)
        for required in ("geoaudit", "suite", "assertions"):
            if required not in keys:
                raise self.error(root, f"the suite has no key {required!r}; it needs geoaudit, suite and assertions")
        version = self.scalar(keys["geoaudit"][1], "geoaudit (the version of the grammar)")
        if type(version) is not int or version != VERSION:
            raise self.error(keys["geoaudit"][1], f"grammar version {version!r} is not known here; this is {VERSION}")
        node = keys["assertions"][1]
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, f"assertions must be a list with at least one entry, got {self.shown(node)}")
        chat = self.chat(keys["chat"][1]) if "chat" in keys else None
        gate = self.scalar(keys["gate"][1], "gate") if "gate" in keys else False
        if not isinstance(gate, bool):
            raise self.error(keys["gate"][1], f"gate is true or false, got {gate!r}")
        assertions: list[Assertion] = []
        lines: dict[str, int] = {}
        for item in node.value:
            assertion = self.assertion(item, chat)
            if assertion.id in lines:
                raise self.error(item, f"assertion id {assertion.id!r} is used before, in line {lines[assertion.id]}")
            lines[assertion.id] = assertion.line
            assertions.append(assertion)
        about = self.text(keys["about"][1], "about") if "about" in keys else ""
        name = self.text(keys["suite"][1], "suite (its name)")
        return Suite(name, about, str(self.path), sha256, tuple(assertions), gate)

    def assertion(self, node: yaml.Node, chat: ChatSetting | None) -> Assertion:
        """One line; `chat` is the suite's setting, the default of every measure's."""
        keys = self.mapping(node, "the assertion", ASSERTION_KEYS)
        for required in ("id", "measure", "because"):
            if required not in keys:
                extra = ": one sentence with the source of the bound" if required == "because" else ""
                raise self.error(node, f"the assertion has no key {required!r}{extra}")
        name = self.text(keys["id"][1], "id")
        if not ID.match(name):
            raise self.error(keys["id"][1], f"id {name!r} must be lower case letters, digits, dots and dashes")
        measure = self.measure(keys["measure"][1])
        checkpoints = self.checkpoints(keys["checkpoints"][1]) if "checkpoints" in keys else None
        steps = self.steps(keys["steps"][1]) if "steps" in keys else None
        parameters = self.parameters(keys["with"][1] if "with" in keys else None, measure, chat)
        comparator, across = self.comparator(node, name, keys, measure, chat)
        return Assertion(
            id=name,
            measure=measure.name,
            parameters=parameters,
            comparator=comparator,
            bound=self.bound(keys[comparator][1], comparator, measure) if across is None else across.bound,
            because=self.text(keys["because"][1], "because"),
            checkpoints=checkpoints,
            steps=steps,
            file=str(self.path),
            line=keys["id"][0].start_mark.line + 1,
            against=self.against(keys, comparator),
            across=across,
        )

    def checkpoints(self, node: yaml.Node) -> str:
        """One name of a checkpoint, or a glob."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"checkpoints is one name, or a glob such as 'r2d2/*', got {self.shown(node)}")
        return self.text(node, "checkpoints")

    def measure(self, node: yaml.Node) -> Measure:
        """A measure of the table, by its name."""
        name = self.text(node, "measure")
        if name not in MEASURES:
            near = did_you_mean(name, MEASURES)
            raise self.error(node, f"unknown measure {name!r}{near}; `geoaudit measures` lists them")
        return MEASURES[name]

    def comparator(
        self, node: yaml.Node, name: str, keys: Keys, measure: Measure, chat: ChatSetting | None
    ) -> tuple[Comparator, Across | None]:
        """The one comparator of an assertion; the rule, where it is about a whole trajectory."""
        plain = [key for key in (*COMPARATORS, *CHANGES) if key in keys]
        rules = [key for key in RULES if key in keys]
        if "across" not in keys:
            if rules:
                raise self.error(
                    keys[rules[0]][0],
                    f"{rules[0]} is said of a whole trajectory: write `across: trajectory` beside it",
                )
            if len(plain) != 1:
                got = " and ".join(plain) or "none"
                known = listed((*COMPARATORS, *CHANGES))
                raise self.error(node, f"assertion {name!r} needs exactly {known}, got {got}")
            return plain[0], None
        word = self.scalar(keys["across"][1], "across")
        if word != "trajectory":
            near = did_you_mean(str(word), ["trajectory"])
            raise self.error(keys["across"][1], f"across cannot be {word!r}{near}; it is always `across: trajectory`")
        if plain:
            raise self.error(
                keys[plain[0]][0],
                f"{plain[0]} is said of each checkpoint by itself: leave out `across: trajectory`, or put "
                f"{listed(RULES)} in its place",
            )
        if len(rules) != 1:
            got = " and ".join(rules) or "none"
            raise self.error(
                node, f"assertion {name!r} is across a trajectory: it needs exactly {listed(RULES)}, got {got}"
            )
        value = keys[rules[0]][1]
        across = self.rule(value, rules[0], measure)
        return rules[0], replace(across, other=self.companion(value, chat)) if rules[0] == "goes_with" else across

    def companion(self, node: yaml.Node, chat: ChatSetting | None) -> Companion:
        """The other measure of `goes_with`."""
        keys = self.mapping(node, "goes_with", KEYS["goes_with"])
        if "measure" not in keys:
            raise self.error(node, "goes_with has no key 'measure': the other measure")
        measure = self.measure(keys["measure"][1])
        return Companion(measure.name, self.parameters(keys["with"][1] if "with" in keys else None, measure, chat))

    def against(self, keys: Keys, comparator: Comparator) -> Against | None:
        """What a change is measured against."""
        if "against" not in keys:
            return "baseline" if comparator in CHANGES else None
        if comparator not in CHANGES:
            raise self.error(
                keys["against"][0],
                f"against belongs to {' and '.join(CHANGES)}, not to {comparator} (measures of two checkpoints take "
                "theirs in `with`)",
            )
        word = self.scalar(keys["against"][1], "against")
        if word not in AGAINST:
            near = did_you_mean(str(word), AGAINST)
            raise self.error(keys["against"][1], f"against cannot be {word!r}{near}; {listed(AGAINST)}")
        return "reference" if word == "reference" else "baseline"

    def steps(self, node: yaml.Node) -> tuple[int, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, f"steps must be a list of step numbers such as [50, 100], got {self.shown(node)}")
        found = [self.number(item, "a step") for item in node.value]
        if any(step != int(step) or step < 0 for step in found):
            raise self.error(node, f"steps are whole numbers from 0 on, got {found}")
        return tuple(int(step) for step in found)

    def bound(self, node: yaml.Node, comparator: Comparator, measure: Measure) -> tuple[float, ...]:
        if comparator == "equals" and measure.kind != "discrete":
            raise self.error(
                node, f"equals is for discrete measures only; {measure.name} is {measure.kind}: use between"
            )
        if comparator == "between":
            if not isinstance(node, yaml.SequenceNode) or len(node.value) != 2:
                raise self.error(node, f"between takes [low, high], got {self.shown(node)}")
            bound = tuple(self.number(item, "a bound") for item in node.value)
            if bound[0] > bound[1]:
                raise self.error(node, f"between [{bound[0]:g}, {bound[1]:g}] is empty: low is above high")
        else:
            bound = (self.number(node, comparator),)
        if comparator in CHANGES:
            if (why := impossible_change(bound[0], measure)) is not None:
                raise self.error(node, why)
            return bound
        for value in bound:
            if (why := impossible(value, measure)) is not None:
                raise self.error(node, why)
        low, high = measure.range
        if comparator == "equals" and bound[0] != int(bound[0]):
            raise self.error(node, f"bound {bound[0]:g} is impossible: {measure.name} is a whole number")
        vacuous = (comparator == "at_most" and bound[0] == high) or (comparator == "at_least" and bound[0] == low)
        if vacuous or (comparator == "between" and bound == (low, high)):
            raise self.error(node, f"the bound says nothing: every value of {measure.name} satisfies it")
        return bound
