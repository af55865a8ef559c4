"""The pytest side of one audit: registered only when a checkpoint was named.

Measures through the `Auditor`, collects what the items report (on the controller, under xdist, from all workers), and
writes the record and the report.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from geoaudit import workers
from geoaudit.audit import record, texts
from geoaudit.audit.closing import in_order, reason, relative, unused
from geoaudit.audit.deciding import Deciding, Line
from geoaudit.audit.measuring import Progress
from geoaudit.audit.numbers import Live, Numbers, Written
from geoaudit.audit.outlook import outlook
from geoaudit.audit.plan import resolve
from geoaudit.audit.profiles import Profile
from geoaudit.audit.provenance import sealed
from geoaudit.audit.run import itself
from geoaudit.audit.store import Store
from geoaudit.audit.suite import Assertion, Suite
from geoaudit.audit.trajectory import Trajectories
from geoaudit.audit.undecidable import few_points, undecidable
from geoaudit.audit.values import against
from geoaudit.audit.verdict import Verdict
from geoaudit.itemreports import attach, keep, status
from geoaudit.items import AuditFile, AuditItem
from geoaudit.measures.labels import NO_LABELS, Labels
from geoaudit.measures.table import get
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.options import pack
from geoaudit.records import Measurement
from geoaudit.report import rows, summary
from geoaudit.report.clean import visible

Opened = Callable[[Progress], Numbers]
"""Opens what the numbers come from, given where lines on progress go."""
CHECKPOINT = "_geoaudit_checkpoint"
"""The plugin's fixture that a test in Python is parametrised by."""
STOPPED: pytest.StashKey[bool] = pytest.StashKey()
NOTHING = "an audit was asked for and no assertion was decided: nothing was shown to hold"
GOES_ON = "what was finished is kept: the same command goes on from there"


class AuditSession:
    """Hooks of an active audit."""

    def __init__(self, config: pytest.Config, profile: Profile, report: Path, opened: Opened) -> None:
        self.config = config
        self.profile = profile
        self.report_path = report
        self.figures: Path | None = None
        """Folder that the report's figures are written to as well."""
        self.numbers = opened(self.say)
        self.deciding = Deciding(self.numbers, profile.decide)
        self.started = time.monotonic()
        self.collected: set[str] = set()
        self.in_python: Counter[str] = Counter()
        """Checkpoint -> tests in Python about it, which say what they need when they run."""
        self.uncollected: list[str] = []
        """Files that broke in collection."""
        self.reported: dict[str, list[dict[str, Any]]] = {}
        self.suites: dict[str, dict[str, str]] = {}
        self.timings: dict[str, float] = {}
        self.warnings: list[str] = []
        self.result: dict[str, Any] | None = None
        self.completions = False
        """Whether prompts and answers are written to a file of their own."""
        self.store = Path()
        """Where the texts of those are."""
        self.said = ""
        """Where they went."""
        self.unwritten = ""
        """Why there is no report, where it could not be written."""
        self.lost: list[str] = []
        """Workers of xdist that died."""
        self.unsummarised = ""
        """Why there is no summary for a CI job, where it could not be written."""

    @property
    def checkpoints(self) -> list[str]:
        """Names of the audited checkpoints."""
        return self.numbers.names

    @property
    def trajectories(self) -> Trajectories:
        """Which of them belong together."""
        return self.numbers.trajectories

    @property
    def labels(self) -> Labels:
        """Human labels that correct rates."""
        return self.numbers.auditor.options.labels if isinstance(self.numbers, Live) else NO_LABELS

    @property
    def is_worker(self) -> bool:
        """Whether this process is one of xdist's."""
        return hasattr(self.config, "workerinput")

    # --- measuring -------------------------------------------------------------------------------------------------

    def decide(self, assertion: Assertion, suite: Suite, about: str) -> Verdict:
        """Measure (once, with everything else that is planned of the checkpoint) and decide."""
        return self.deciding.decide(assertion, suite, about)

    def measure(
        self, checkpoint: str, measure: str, parameters: dict[str, Any], file: str
    ) -> tuple[str | None, Measurement]:
        """For the `audit` fixture in a test of `file`: (key in the store, measurement)."""
        resolve(get(measure), parameters, self.profile)  # a wrong parameter is the test's error, not a verdict
        comparison = against(get(measure), parameters)
        if comparison is not None:  # and so is a comparison with a checkpoint that is not there
            other = self.trajectories.against(checkpoint, comparison.role, comparison.checkpoint)
            if other is None:
                pytest.skip(f"{checkpoint} is {itself(comparison.role)}: there is nothing to compare it with")
        return self.deciding.measure(checkpoint, measure, parameters, file)

    def change(self, assertion: Assertion, checkpoint: str) -> Verdict:
        """For the `audit` fixture: what a measure changed against the baseline or the reference."""
        if assertion.against == "reference" and self.trajectories.against(checkpoint, "reference") is None:
            pytest.skip(f"{checkpoint} is {itself('reference')}: there is nothing to compare it with")
        return self.deciding.change(assertion, checkpoint)

    def say(self, line: str) -> None:
        """One line of progress, past pytest's capture; on a worker to the terminal that it shares."""
        if self.config.get_verbosity() >= 0:
            self._show(line)

    def _show(self, line: str) -> None:
        text = f"geoaudit: {visible(line)}"
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
        keep(item, verdict)

    # --- pytest hooks ----------------------------------------------------------------------------------------------

    def pytest_report_header(self) -> str:
        """One line on what is audited."""
        what, profile = visible(rows.named(self.checkpoints)), self.profile
        return f"geoaudit: {what} · profile {profile.name} ({profile.what}) · {self.numbers.where}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: workers get the checkpoints as resolved here."""
        if isinstance(self.numbers, Live):
            auditor = self.numbers.auditor
            node.workerinput["geoaudit_checkpoints"] = [pack(auditor.checkpoint(name)) for name in auditor.names]
            if isinstance(auditor.options.baseline, Checkpoint):
                node.workerinput["geoaudit_baseline"] = pack(auditor.options.baseline)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what must report."""
        items = [item for item in session.items if isinstance(item, AuditItem)]
        self.collected.update(item.nodeid for item in items if item.checkpoint is not None)
        self.deciding.expect(
            Line(item.assertion, item.suite, item.checkpoint, item.members) for item in items if item.checkpoint
        )
        asking = (getattr(item, "callspec", None) for item in session.items)
        self.in_python.update(one.params[CHECKPOINT] for one in asking if one is not None and CHECKPOINT in one.params)
        for item in items:
            file = item.parent
            assert isinstance(file, AuditFile)
            self.suites[file.suite.file] = {
                "name": file.suite.name,
                "file": relative(file.suite.file),
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

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """xdist: what a worker that died was deciding is lost, also a test in Python that nobody can count."""
        if error:
            self.lost.append(node.gateway.id)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, Any, Any]:
        """xdist: a report leaves its worker."""
        data: Any = yield
        return workers.outgoing(data) if self.is_worker and data is not None else data

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> None:
        """xdist: a report arrives at the controller."""
        workers.incoming(data)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """With --geoaudit-plan, show the plan in place of running it; else say what cannot be decided anyhow."""
        broken = session.testsfailed and not self.config.option.continue_on_collection_errors
        if broken or self.config.option.collectonly:
            return None
        if self.config.getoption("geoaudit_plan"):
            for line in self.plan_lines():
                self._show(line)  # under -q too: it is what was asked for
            return True
        first = getattr(self.config, "workerinput", {}).get("workerid", "gw0") == "gw0"  # of xdist's workers, one
        if isinstance(self.numbers, Live) and first:
            for line in undecidable(self.deciding, self.numbers.auditor):
                self.say(line)
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Attach verdicts to the report of the call phase."""
        report: Any = yield
        if call.when != "call":
            return report
        attach(item, call, report, allow_inconclusive=bool(self.config.getoption("geoaudit_allow_inconclusive")))
        if self.is_worker:
            report.geoaudit_worker = {
                "warnings": list(self.numbers.warnings),
                "timings": dict(self.numbers.timings),
                "suites": self.suites,
            }
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
            self.suites.update(worker["suites"])

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        """Inconclusive and invalid have their own words; an estimate says that it is one."""
        return status(report)

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
        verdicts = [verdict for name in sorted(self.reported, key=in_order) for verdict in self.reported[name]]
        if verdicts:
            self._write(verdicts, int(session.exitstatus), missing, stopped)
        if self.unwritten and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if os.environ.get(summary.VARIABLE):
            report = "" if self.unwritten else relative(str(self.report_path))
            why = f"{NOTHING} (pytest exit code {int(session.exitstatus)})"
            self.unsummarised = summary.write(self.result, report, os.environ[summary.VARIABLE], why)

    def _write(self, verdicts: list[dict[str, Any]], code: int, missing: list[str], stopped: bool) -> None:
        from geoaudit.report import html

        result = self.numbers.record(
            Written(
                profile=self.profile,
                command=["pytest", *(str(arg) for arg in self.config.invocation_params.args)],
                verdicts=[{**one, "file": relative(one["file"])} for one in verdicts],
                suites=[suite for _, suite in sorted(self.suites.items())],
                exit_code=code,
                exit_reason=reason(verdicts, code, missing, self.uncollected, self.lost),
                complete=not (missing or stopped or self.uncollected or self.lost),
                warnings=[*self.warnings, *self.numbers.warnings],
                timings={**self.timings, **self.numbers.timings, "total": time.monotonic() - self.started},
            )
        )
        result["warnings"] += unused(self.labels, result)
        self.result = sealed(result)
        try:
            record.write(self.result, self.report_path.with_suffix(".json"))
            if self.completions:
                self.said = texts.write(self.result, Store(self.store), self.report_path.with_suffix(texts.SUFFIX))
            html.write(self.result, self.report_path, self.figures)
        except OSError as error:
            self.unwritten = f"no report: {self.report_path} cannot be written: {error.strerror or error}"
            self.result["exit"] = {"code": code or 1, "reason": f"{self.result['exit']['reason']}; {self.unwritten}"}

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of assertions and where the report is."""
        if self.is_worker or self.config.getoption("geoaudit_plan") or self.config.option.collectonly:
            return
        from geoaudit.report import terminal

        report = "" if self.unwritten else relative(str(self.report_path))
        begun = self.config.stash.get(STOPPED, False) and not self.uncollected
        notes = [NOTHING, *([GOES_ON] if begun else [])] if self.result is None else []
        notes += unused(self.labels, self.result) if self.result is not None else []
        notes += [self.said] if self.said else []
        notes += [self.unsummarised] if self.unsummarised else []
        terminal.show(terminalreporter, self.result, report, notes)

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_terminal_summary")
    def pytest_terminal_summary_short(self, terminalreporter: Any) -> Generator[None]:
        """Behind pytest's short summary, the items that it has no letter for."""
        yield
        if not self.is_worker:
            from geoaudit.report import terminal

            terminal.show_short(terminalreporter)

    def plan_lines(self) -> list[str]:
        """For each checkpoint the work left, with its tokens, time and memory, and what it cannot decide."""
        if not isinstance(self.numbers, Live):
            return ["a replay measures nothing: there is nothing to plan"]
        auditor = self.numbers.auditor
        named = [*auditor.names, *filter(None, [auditor.checkpoints.baseline])]
        lines = outlook(auditor, {name: self.deciding.planned(name) for name in named}, self.in_python)
        return lines + few_points(self.deciding.lines)
