"""What an audit would do, in lines: work, tokens, time and memory of each checkpoint, and what it could not decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geoaudit.audit.costs import memory_bytes
from geoaudit.audit.decide import chance_at_half, underpowered
from geoaudit.audit.measuring import clock
from geoaudit.audit.order import Node
from geoaudit.audit.plan import Planned, behaviours
from geoaudit.audit.run import Auditor
from geoaudit.audit.suite import Assertion
from geoaudit.errors import GeoauditError
from geoaudit.measures.table import get

Lines = Sequence[tuple[Assertion, Planned | GeoauditError]]
"""Assertions with what is planned for them, or why nothing can be."""


def outlook(auditor: Auditor, planned: Mapping[str, Lines]) -> list[str]:
    """The plan of every checkpoint; work that comparisons share is named once."""
    lines: list[str] = []
    said: set[Node] = set()
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
        nothing = "nothing more than above" if left else "nothing: all of it is in the store"
        total = clock(sum(seconds for _, seconds in more)) if more else nothing
        lines.append(
            f"plan for {name}: {size.parameters / 1e6:,.0f} M parameters, {subject.contract.dtype} on "
            f"{auditor.options.device}, memory about {memory / 1e9:.1f} GB, time about {total}"
        )
        for work, seconds in more:
            title = work.title if work.checkpoint == name else f"{work.title} of {work.checkpoint}"
            lines.append(f"  {title}: {work.prompts} prompts, about {work.tokens:,} tokens, {clock(seconds)}")
        for assertion, one in asserted:
            lines += _outlook_of(auditor, assertion, one)
    return lines


def _outlook_of(auditor: Auditor, assertion: Assertion, planned: Planned | GeoauditError) -> list[str]:
    """What can be said of an assertion before anything is measured."""
    if isinstance(planned, GeoauditError):
        return [f"  {assertion.id}: cannot be measured: {planned}"]
    if get(assertion.measure).kind != "rate":
        return []
    n = behaviours(planned, auditor.options.judging.data)
    flag = underpowered(assertion.comparator, assertion.bound, n)
    if flag is not None:
        return [f"  {assertion.id}: {flag.name}: {flag.sentence}"]
    chance = chance_at_half(assertion.comparator, assertion.bound, n)
    if chance is None or auditor.options.profile.decide == "estimate":
        return []
    return [f"  {assertion.id}: n = {n}, passes with probability {chance[1]:.2f} if the true rate is {chance[0]:g}"]
