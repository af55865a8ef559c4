"""Suite files as pytest collects them: one file, one item for each assertion and checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from geoaudit.audit.concerned import concerned, decided_on
from geoaudit.audit.run import MeasuringStopped
from geoaudit.audit.suite import Assertion, Suite, read
from geoaudit.audit.verdict import AuditOutcome
from geoaudit.errors import GeoauditError, SuiteError
from geoaudit.report.clean import visible

if TYPE_CHECKING:
    from geoaudit.session import AuditSession

SESSION: pytest.StashKey[AuditSession] = pytest.StashKey()
"""The audit that was asked for; absent where no model was named."""
SUFFIX = ".audit.yaml"
LONGEST = 20_000
"""Characters kept of the text of a failure: a library's message or a template's may be any length."""
NO_MODEL = "no checkpoint to audit: name one with --geoaudit-model"


class AuditFile(pytest.File):
    """A `*.audit.yaml` file."""

    suite: Suite

    def collect(self) -> Iterator[pytest.Item]:
        """An item for each assertion and checkpoint that it concerns, named `id[checkpoint]`.

        A line about a whole trajectory has one item for each: `id[trajectory]`.
        """
        self.suite = read(self.path)
        session = self.config.stash.get(SESSION, None)
        for assertion in self.suite.assertions:
            names = concerned(assertion, session.checkpoints) if session else []
            decided = decided_on(assertion, names, session.trajectories) if session else {}
            for name, members in decided.items():
                yield AuditItem.from_parent(
                    self, name=f"{assertion.id}[{name}]", assertion=assertion, checkpoint=name, members=members
                )
            if not decided:
                why = NO_MODEL if session is None else _no_match(assertion)
                if names:
                    why = f"concerns {', '.join(names)}, with which there is nothing to compare"
                yield AuditItem.from_parent(self, name=assertion.id, assertion=assertion, unaudited=why)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A suite error as its one line."""
        if isinstance(excinfo.value, SuiteError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class AuditItem(pytest.Item):
    """One assertion on one checkpoint, or across one trajectory."""

    def __init__(
        self,
        *,
        assertion: Assertion,
        checkpoint: str | None = None,
        members: tuple[str, ...] = (),
        unaudited: str = "",
        **kwargs: Any,
    ) -> None:
        # Whole, so that pytest reads the bracket as a parameter, as it does when it finds the id in its cache (`--lf`).
        super().__init__(nodeid=f"{kwargs['parent'].nodeid}::{kwargs['name']}", **kwargs)
        self.assertion = assertion
        self.checkpoint = checkpoint
        """Its name; across a trajectory that one's name."""
        self.members = members
        """The checkpoints of the audit that must be measured for it: the one itself, the reference that it is compared
        with, or in order those of the trajectory that the line concerns."""
        self.unaudited = unaudited
        """Why there is no checkpoint, where there is none."""

    @property
    def suite(self) -> Suite:
        """The suite that the assertion stands in."""
        assert isinstance(self.parent, AuditFile)
        return self.parent.suite

    def setup(self) -> None:
        """Skip where there is nothing to audit; fail where the project says that audits must run."""
        if self.checkpoint is None:
            _fail_if_required(self.config, self.unaudited)
            # `pytest.skip` would name a line of this file, a mark the suite's file and no line
            raise pytest.skip.Exception(self.unaudited, _use_item_location=True)

    def runtest(self) -> None:
        """Decide; anything but *passed* raises."""
        session = self.config.stash[SESSION]
        assert self.checkpoint is not None
        verdict = session.decide(self.assertion, self.suite, self.checkpoint)
        session.report(self, verdict)
        if verdict.outcome != "passed":
            raise AuditOutcome(verdict)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict as text; a traceback only for what is no verdict."""
        if isinstance(excinfo.value, (AuditOutcome, GeoauditError, MeasuringStopped)):
            return visible(str(excinfo.value), LONGEST)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[PathLike[str] | str, int | None, str]:
        """The line of the suite file."""
        return self.path, self.assertion.line - 1, self.name


def _no_match(assertion: Assertion) -> str:
    steps = f"steps {', '.join(map(str, assertion.steps))}" if assertion.steps else None
    return f"concerns {' and '.join(filter(None, (assertion.checkpoints, steps)))}; no audited checkpoint matches"


def without_model(config: pytest.Config) -> NoReturn:
    """What a test in Python does without a checkpoint: skip, or fail under `geoaudit_require`."""
    _fail_if_required(config, NO_MODEL)
    pytest.skip(NO_MODEL)


def _fail_if_required(config: pytest.Config, why: str) -> None:
    if config.getini("geoaudit_require"):
        pytest.fail(f"{why} (geoaudit_require is set)", pytrace=False)


def shipped_suites() -> Path:
    """The folder of the suites that come with geoaudit: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "assertions"
    return inside if inside.is_dir() else package.parent / "assertions"
