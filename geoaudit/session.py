"""The pytest side of one audit: registered only when a checkpoint was named.

Measures through the `Auditor`, collects what the items report (on the controller, under xdist, from all workers), and
writes the record and the report.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from geoaudit.audit import record
from geoaudit.audit.decide import OUTCOMES, decide
from geoaudit.audit.gate import single_condition
from geoaudit.audit.measuring import Options
from geoaudit.audit.outlook import outlook
from geoaudit.audit.plan import Planned, resolve
from geoaudit.audit.run import Auditor, itself
from geoaudit.audit.suite import Assertion, Suite
from geoaudit.audit.values import against
from geoaudit.audit.verdict import AuditOutcome, Verdict, verdict_of
from geoaudit.errors import GeoauditError, UnknownName
from geoaudit.items import AuditFile, AuditItem
from geoaudit.measures.labels import Labels, population_sha256
from geoaudit.measures.table import get
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.options import pack
from geoaudit.records import Measurement

STOPPED: pytest.StashKey[bool] = pytest.StashKey()
VERDICTS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
WORDS = {"inconclusive": ("I", "yellow"), "invalid": ("V", "red")}


class AuditSession:
    """Hooks of an active audit."""

    def __init__(self, config: pytest.Config, checkpoints: list[Checkpoint], options: Options, report: Path) -> None:
        self.config = config
        self.options = options
        self.report_path = report
        self.auditor = Auditor(checkpoints, options, self.say)
        self.started = time.monotonic()
        self.collected: set[str] = set()
        self.uncollected: list[str] = []
        """Files that broke in collection."""
        self.reported: dict[str, list[dict[str, Any]]] = {}
        self.suites: dict[str, dict[str, str]] = {}
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []
        self.result: dict[str, Any] | None = None
        self.unwritten = ""
        """Why there is no report, where it could not be written."""
        self._planned: dict[tuple[str, str], Planned | GeoauditError] = {}
        self._items: list[AuditItem] = []
        self._laid: set[str] = set()

    @property
    def checkpoints(self) -> list[str]:
        """Names of the audited checkpoints."""
        return self.auditor.names

    @property
    def is_worker(self) -> bool:
        """Whether this process is one of xdist's."""
        return hasattr(self.config, "workerinput")

    # --- measuring -------------------------------------------------------------------------------------------------

    def decide(self, assertion: Assertion, suite: Suite, checkpoint: str) -> Verdict:
        """Measure (once, with everything else that is planned of the checkpoint) and decide."""
        self._lay_plan(checkpoint)
        key, measurement = self._measured(checkpoint, assertion.measure, self._planned[(checkpoint, _id(assertion))])
        condition = single_condition(suite, assertion, checkpoint)
        decision = decide(
            assertion.comparator,
            assertion.bound,
            measurement,
            by=self.options.profile.decide,
            extra=(condition,) if condition is not None else (),
        )
        return verdict_of(assertion, suite.name, checkpoint, key, measurement, decision)

    def measure(self, checkpoint: str, measure: str, parameters: dict[str, Any]) -> tuple[str | None, Measurement]:
        """For the `audit` fixture: (key in the store, measurement)."""
        self._lay_plan(checkpoint)
        resolve(get(measure), parameters, self.options.profile)  # a wrong parameter is the test's error, not a verdict
        comparison = against(get(measure), parameters)
        if comparison is not None:  # and so is a comparison with a checkpoint that is not there
            trajectories = self.auditor.checkpoints.trajectories
            other = trajectories.against(checkpoint, comparison.role, comparison.checkpoint)
            if other is None:
                pytest.skip(f"{checkpoint} is {itself(comparison.role)}: there is nothing to compare it with")
        try:
            planned: Planned | GeoauditError = self.auditor.plan(checkpoint, measure, parameters)
        except UnknownName:  # and so is a wrong source
            raise
        except GeoauditError as error:
            planned = error
        return self._measured(checkpoint, measure, planned)

    def _measured(
        self, checkpoint: str, measure: str, planned: Planned | GeoauditError
    ) -> tuple[str | None, Measurement]:
        try:
            if isinstance(planned, GeoauditError):
                raise planned
            found = self.auditor.measurement(planned)
        except GeoauditError as error:
            why = Measurement(measure, checkpoint, {}, get(measure).unit, why_missing=str(error))
            return None, why
        return (None if planned.key in self.auditor.subject(checkpoint).missing else planned.key), found

    def _lay_plan(self, checkpoint: str) -> None:
        """Plan every selected item of a checkpoint before the first is measured, so that each need is met once."""
        if checkpoint in self._laid:
            return
        self._laid.add(checkpoint)
        for item in self._items:
            if item.checkpoint == checkpoint:
                name = (checkpoint, _id(item.assertion))
                try:
                    self._planned[name] = self.auditor.plan(
                        checkpoint, item.assertion.measure, item.assertion.parameters
                    )
                except GeoauditError as error:
                    self._planned[name] = error

    def say(self, line: str) -> None:
        """One line of progress, past pytest's capture; on a worker to the terminal that it shares."""
        if self.config.get_verbosity() < 0:
            return
        text = f"geoaudit: {line}"
        capture = self.config.pluginmanager.getplugin("capturemanager")
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if self.is_worker:
                print(text, file=sys.__stderr__, flush=True)  # it has no terminal reporter
            elif terminal is not None:
                terminal.ensure_newline()
                terminal.write_line(text)
                terminal.flush()

    def report(self, item: pytest.Item, verdict: Verdict) -> None:
        """Keep a verdict until the item's report is made."""
        item.stash.setdefault(VERDICTS, []).append(verdict.to_json())
        item.user_properties += verdict.properties()

    # --- pytest hooks ----------------------------------------------------------------------------------------------

    def pytest_report_header(self) -> str:
        """One line on what is audited."""
        profile = self.options.profile
        return (
            f"geoaudit: {', '.join(self.checkpoints)} · profile {profile.name} ({profile.what}) · "
            f"{self.options.device} · store {self.options.store}"
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: workers get the checkpoints as resolved here."""
        node.workerinput["geoaudit_checkpoints"] = [pack(self.auditor.checkpoint(name)) for name in self.checkpoints]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what must report."""
        self._items = [item for item in session.items if isinstance(item, AuditItem)]
        self.collected.update(item.nodeid for item in self._items if item.checkpoint is not None)
        for item in self._items:
            file = item.parent
            assert isinstance(file, AuditFile)
            self.suites[file.suite.file] = {
                "name": file.suite.name,
                "file": _relative(file.suite.file),
                "sha256": file.suite.sha256,
            }

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What breaks in collection is not audited."""
        if report.failed and report.nodeid not in self.uncollected:
            self.uncollected.append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """xdist: the controller does not collect; the workers say what they found."""
        self.collected.update(name for name in ids if ".audit.yaml::" in name and name.endswith("]"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """With --geoaudit-plan, show the plan in place of running it."""
        broken = session.testsfailed and not self.config.option.continue_on_collection_errors
        if not self.config.getoption("geoaudit_plan") or broken:
            return None
        for line in self.plan_lines():
            self.say(line)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Attach verdicts to the report of the call phase."""
        report: Any = yield
        if call.when != "call":
            return report
        verdicts = item.stash.get(VERDICTS, [])
        raised = call.excinfo.value if call.excinfo is not None else None
        if isinstance(raised, AuditOutcome) and report.failed:
            report.longrepr = str(raised)
            worst = min((one["outcome"] for one in verdicts), key=OUTCOMES.index)
            if worst == "inconclusive" and self.config.getoption("geoaudit_allow_inconclusive"):
                path, line, _ = item.reportinfo()
                why = f"inconclusive (allowed): {raised.verdict.decision.sentence}"
                report.outcome, report.longrepr = "skipped", (os.fspath(path), (line or 0) + 1, why)
        report.geoaudit = _as_asserted(verdicts, report, call)
        outcomes = iter([one["outcome"] for one in report.geoaudit])
        report.user_properties = [
            (name, next(outcomes) if name == "geoaudit_outcome" else value) for name, value in report.user_properties
        ]
        if self.is_worker:
            report.geoaudit_worker = {"warnings": self.auditor.warnings, "timings": self.auditor.timings}
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Collect verdicts, from this process or from a worker."""
        if report.when != "call":
            return
        if getattr(report, "geoaudit", None):
            self.reported[report.nodeid] = report.geoaudit
        worker = getattr(report, "geoaudit_worker", None)
        if worker:
            self.warnings += [line for line in worker["warnings"] if line not in self.warnings]
            for phase, seconds in worker["timings"].items():
                self.timings[phase] = max(self.timings.get(phase, 0.0), seconds)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        """Inconclusive and invalid have their own words; an estimate says that it is one."""
        verdicts = getattr(report, "geoaudit", None)
        if report.when != "call" or not verdicts:
            return None
        worst = min((one["outcome"] for one in verdicts), key=OUTCOMES.index)
        if report.failed and worst in WORDS:
            letter, colour = WORDS[worst]
            return worst, letter, (worst.upper(), {colour: True})
        if report.skipped and worst == "inconclusive" and not hasattr(report, "wasxfail"):
            return "skipped", "s", ("INCONCLUSIVE (allowed)", {"yellow": True})
        if report.passed and verdicts[0]["by"] == "estimate":
            return "passed", ".", ("PASSED (estimate)", {"green": True})
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Go red if something that was collected did not report; write record and report."""
        if self.is_worker or self.config.getoption("geoaudit_plan") or self.config.option.collectonly:
            return
        missing = sorted(self.collected - set(self.reported))
        ran = bool(self.reported)
        stopped = bool(session.shouldstop or session.shouldfail) or exitstatus == pytest.ExitCode.INTERRUPTED
        self.config.stash[STOPPED] = stopped
        if exitstatus == pytest.ExitCode.OK and not ran:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        elif exitstatus == pytest.ExitCode.OK and missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        verdicts = [verdict for _, found in sorted(self.reported.items()) for verdict in found]
        if not verdicts:
            return
        self._write(verdicts, int(session.exitstatus), missing, stopped)
        if self.unwritten and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self, verdicts: list[dict[str, Any]], code: int, missing: list[str], stopped: bool) -> None:
        from geoaudit.report import html

        timings = {**self.timings, **self.auditor.timings, "total": time.monotonic() - self.started}
        self.result = record.build(
            auditor=self.auditor,
            profile=self.options.profile,
            command=["pytest", *(str(arg) for arg in self.config.invocation_params.args)],
            verdicts=[{**one, "file": _relative(one["file"])} for one in verdicts],
            suites=[suite for _, suite in sorted(self.suites.items())] or self._suites_of(verdicts),
            exit_code=code,
            exit_reason=_reason(verdicts, code, missing, self.uncollected),
            complete=not missing and not stopped and not self.uncollected,
            warnings=[*self.warnings, *self.auditor.warnings],
            timings=timings,
        )
        self.result["warnings"] += _unused(self.options.labels, self.result)
        try:
            record.write(self.result, self.report_path.with_suffix(".json"))
            html.write(self.result, self.report_path)
        except OSError as error:
            self.unwritten = f"no report: {self.report_path} cannot be written: {error.strerror or error}"
            self.result["exit"] = {"code": code or 1, "reason": f"{self.result['exit']['reason']}; {self.unwritten}"}

    def _suites_of(self, verdicts: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Under xdist the controller did not read the suite files itself."""
        from geoaudit.audit.suite import read

        files = sorted({one["file"] for one in verdicts if one["suite"] != "python"})
        suites = [read(Path(file)) for file in files]
        return [{"name": one.name, "file": _relative(one.file), "sha256": one.sha256} for one in suites]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of assertions and where the report is."""
        if self.is_worker or self.config.getoption("geoaudit_plan") or self.config.option.collectonly:
            return
        if self.result is None:
            terminalreporter.section("geoaudit")
            terminalreporter.write_line(
                "an audit was asked for and no assertion was decided: nothing was shown to hold"
            )
            if terminalreporter.config.stash.get(STOPPED, False):
                terminalreporter.write_line("what was finished is kept: the same command goes on from there")
            return
        from geoaudit.report.terminal import summary_lines

        terminalreporter.section("geoaudit")
        report = "" if self.unwritten else _relative(str(self.report_path))
        for line in _unused(self.options.labels, self.result):
            terminalreporter.write_line(line)
        for line in summary_lines(self.result, report, verbose=self.config.get_verbosity()):
            terminalreporter.write_line(line)

    def plan_lines(self) -> list[str]:
        """For each checkpoint the work left, with its tokens, time and memory, and what it cannot decide."""
        planned = {}
        for name in self.checkpoints:
            self._lay_plan(name)
            lines = [item.assertion for item in self._items if item.checkpoint == name]
            planned[name] = [(one, self._planned[(name, _id(one))]) for one in lines]
        return outlook(self.auditor, planned)


def _as_asserted(verdicts: list[dict[str, Any]], report: Any, call: pytest.CallInfo[None]) -> list[dict[str, Any]]:
    """Verdicts as a test in Python used its comparisons: in the negative they count the other way round."""
    if report.passed:
        return [_contrary(one) if one["outcome"] == "failed" else one for one in verdicts]
    if report.failed and verdicts and verdicts[-1]["outcome"] == "passed" and call.excinfo is not None:
        at, last = call.excinfo.traceback[-1], verdicts[-1]
        if call.excinfo.errisinstance(AssertionError) and str(at.path) == last["file"] and last["line"] > at.lineno:
            sentence = f"the assertion that this comparison stands in failed: {last['sentence']}"
            return [*verdicts[:-1], {**last, "outcome": "failed", "sentence": sentence}]
    return verdicts


def _contrary(one: dict[str, Any]) -> dict[str, Any]:
    comparator = {"at_most": "at_least", "at_least": "at_most"}[one["comparator"]]
    sentence = f"the test asserts the contrary: {one['sentence']}"
    return {**one, "outcome": "passed", "comparator": comparator, "sentence": sentence}


def _unused(labels: Labels, result: dict[str, Any]) -> list[str]:
    """A line for each sample of labels that was drawn from other completions than those of this audit."""
    there = {
        population_sha256(row["exchange"] for row in found["rows"] if "exchange" in row)
        for found in result["completions"].values()
    }
    return [
        f"labels of {len(sample.answers)} completions ({sample.question}) fit nothing in this run: the model, the "
        "prompts or the answers are others than those that were labelled"
        for sample in labels.samples
        if sample.population not in there
    ]


def _id(assertion: Assertion) -> str:
    return f"{assertion.file}:{assertion.id}"


def _relative(file: str) -> str:
    path = os.path.relpath(file)
    return file if path.startswith("..") else path


def _reason(verdicts: list[dict[str, Any]], code: int, missing: list[str], uncollected: list[str]) -> str:
    counts = Counter(one["outcome"] for one in verdicts)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    if missing:
        parts.append(f"{len(missing)} not decided")
    parts += [f"{name} could not be collected" for name in uncollected]
    green = len(parts) == 1 and counts["passed"] > 0
    meaning = {
        0: "every assertion passed" if green else "inconclusive was allowed",
        1: "another test did not pass" if green else "not every assertion passed",
        2: "interrupted",
    }
    return f"{', '.join(parts)}" + (f" ({meaning[code]})" if code in meaning else "")
