"""What an audit would do, in lines: work, tokens, time and memory of each checkpoint, and what it could not decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from geoaudit.audit.costs import memory_bytes
from geoaudit.audit.decide import chance_at_half, underpowered
from geoaudit.audit.measuring import clock
from geoaudit.audit.order import Node
from geoaudit.audit.plan import Planned, behaviours, fewer
from geoaudit.audit.run import Auditor
from geoaudit.audit.suite import CHANGES, COMPARATORS, Assertion
from geoaudit.errors import GeoauditError
from geoaudit.measures.table import get
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.held import leaves_its_base
from geoaudit.stats.power import FLIPS, change_power
from geoaudit.stats.proportions import n_to_certify

IN_STORE = "nothing: all of it is in the store"
UNKNOWN = "not known: tests in Python say what they need when they run"

Lines = Sequence[tuple[Assertion, Planned | GeoauditError]]
"""Assertions with what is planned for them, or why nothing can be."""


def outlook(auditor: Auditor, planned: Mapping[str, Lines], in_python: Mapping[str, int]) -> list[str]:
    """The plan of every checkpoint, and of several a line for all; work that comparisons share is named once.

    Args:
        auditor: of the audit.
        planned: checkpoint -> what the lines of suites ask of it.
        in_python: checkpoint -> tests in Python about it; what they ask for is not known before they run.
    """
    lines: list[str] = []
    said: set[Node] = set()
    seconds_of: dict[str, float] = {}
    no_work: list[str] = []
    memory_of: dict[str, float] = {}
    for name, asserted in planned.items():
        try:
            size = auditor.size(name)
            subject = auditor.subject(name)
        except GeoauditError as error:
            lines.append(f"plan for {name}: nothing can be measured: {error}")
            continue
        memory = memory_bytes(size.parameters, size.n_layers, size.d_model, size.vocab, subject.contract.dtype)
        left = auditor.works(name)
        more = [(work, seconds) for work, seconds in left if work.node not in said]
        said.update(work.node for work, _ in more)
        seconds_of[name], memory_of[name] = sum(seconds for _, seconds in more), memory
        tests = in_python.get(name, 0)
        nothing = "nothing more than above" if left else _nothing(asserted, tests)
        no_work.append(_nothing(asserted, tests))
        total = clock(seconds_of[name]) if more else nothing
        lines.append(
            f"plan for {name}: {size.parameters / 1e6:,.0f} M parameters, {subject.contract.dtype} on "
            f"{auditor.options.device}, memory about {memory / 1e9:.1f} GB, time about {total}"
        )
        for work, seconds in more:
            title = work.title if work.checkpoint == name else f"{work.title} of {work.checkpoint}"
            lines.append(f"  {title}: {work.prompts} prompts, about {work.tokens:,} tokens, {clock(seconds)}")
        for assertion, one in asserted:
            lines += _outlook_of(auditor, assertion, one)
        if tests:
            lines.append(f"  and what {tests} {'test' if tests == 1 else 'tests'} in Python will ask for")
    if len(seconds_of) > 1:
        none = IN_STORE if IN_STORE in no_work else no_work[0]
        total = clock(sum(seconds_of.values())) if any(seconds_of.values()) else none
        largest = max(memory_of.values()) / 1e9
        shared = "; ".join(_shared(auditor, list(seconds_of)))
        lines.append(
            f"plan for all {len(seconds_of)} checkpoints: time about {total}, memory about {largest:.1f} GB (one model "
            f"at a time{'; ' if shared else ''}{shared})"
        )
    return lines


def _nothing(asserted: Lines, tests: int) -> str:
    """What stands in place of a time where no line of a suite leaves any work."""
    if any(isinstance(one, Planned) for _, one in asserted):
        return IN_STORE
    if asserted:
        return "nothing: no line of a suite can be measured"
    return UNKNOWN if tests else "nothing: no line of a suite asks for anything of it"


def _shared(auditor: Auditor, names: Sequence[str]) -> Iterator[str]:
    """A sentence for each base that adapters share."""
    sources: dict[object, list[Checkpoint]] = {}
    for one in map(auditor.checkpoint, names):
        sources.setdefault((one.base or one).path, []).append(one)
    for found in sources.values():
        adapters = [one for one in found if one.base is not None and leaves_its_base(one)]
        if len(adapters) + any(one.base is None for one in found) > 1 and adapters:
            base = next((one.name for one in found if one.base is None), adapters[0].base.name)  # type: ignore[union-attr]
            yield f"{_listed([one.name for one in adapters])} of {base}, which is read once"


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} checkpoints are adapters"
    return f"{' and '.join(names)} {'are adapters' if len(names) > 1 else 'is an adapter'}"


def _outlook_of(auditor: Auditor, assertion: Assertion, planned: Planned | GeoauditError) -> list[str]:
    """What can be said of an assertion before anything is measured."""
    if isinstance(planned, GeoauditError):
        return [f"  {assertion.id}: cannot be measured: {planned}"]
    said = []
    short = fewer(planned, assertion.parameters)
    if short is not None and planned.checkpoint != auditor.checkpoints.baseline:
        said.append(f"  {assertion.called}: {short.name}: {short.sentence}")
    return said + _chances(auditor, assertion, planned)


def _chances(auditor: Auditor, assertion: Assertion, planned: Planned) -> list[str]:
    """How likely a line on a rate is to pass, on the prompts that there are."""
    if get(assertion.measure).kind != "rate":
        return []
    if assertion.comparator in CHANGES:
        return _outlook_of_change(auditor, assertion, planned)
    if assertion.comparator not in COMPARATORS:
        return []
    n = behaviours(planned, auditor.options.judging.data)
    flag = underpowered(assertion.comparator, assertion.bound, n)
    if flag is not None:
        return [f"  {assertion.called}: {flag.name}: {flag.sentence}"]
    chance = chance_at_half(assertion.comparator, assertion.bound, n)
    if chance is None or auditor.options.profile.decide == "estimate":
        return []
    return [f"  {assertion.called}: n = {n}, passes with probability {chance[1]:.2f} if the true rate is {chance[0]:g}"]


def _outlook_of_change(auditor: Auditor, assertion: Assertion, planned: Planned) -> list[str]:
    """How likely an unchanged model is to pass a line on a change of a rate."""
    if planned.checkpoint == auditor.checkpoints.baseline:  # it is said once, of the checkpoint that is decided on
        return []
    n, comparator = behaviours(planned, auditor.options.judging.data), assertion.comparator
    allowed = assertion.bound[0] if comparator == "change_at_most" else -assertion.bound[0]
    if allowed <= 0:  # it demands a change, which an unchanged model does not show
        return []
    needed = n_to_certify(allowed, "at_most")
    if needed is not None and needed > n:
        why = f"even no change at all on {n} prompts cannot certify this margin; {needed} could"
        return [f"  {assertion.called}: underpowered: {why}"]
    if auditor.options.profile.decide == "estimate":
        return []
    chance = change_power(n, FLIPS, 0.0, allowed)
    said = f"n = {n}, passes with probability {chance:.2f} if nothing changed but {FLIPS:.0%} of the answers flip"
    return [f"  {assertion.called}: {said}"]
