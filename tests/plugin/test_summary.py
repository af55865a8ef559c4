"""The summary of a CI job: once, from the controller, whatever the terminal shows, and never the run's undoing."""

from __future__ import annotations

import pytest

from tests.plugin.project import REFUSES, UNSURE, Project, output

HEADING = "## ❓ geoaudit: 1 inconclusive of 2 assertions"


@pytest.fixture
def job(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in a job, with a suite that has one passed and one inconclusive assertion."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    project.suite(REFUSES, UNSURE)
    return project


def summary(project: Project) -> str:
    path = project.path / "summary.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.mark.parametrize(
    "args",
    [(), pytest.param(("-n", "2"), marks=pytest.mark.slow), ("-p", "no:terminal"), ("-q", "--no-summary", "--tb=no")],
)
def test_once_from_the_controller(job: Project, args: tuple[str, ...]) -> None:
    run = job.run_apart if "-n" in args else job.run
    assert run(*args).ret == 1
    text = summary(job)
    assert text.count("geoaudit:") == text.count(HEADING) == 1
    for part in ("surely-refuses", "about 36 prompts would decide", "<code>reports/geoaudit.json</code>"):
        assert part in text


def test_two_commands_of_a_step_are_two_summaries(job: Project) -> None:
    assert job.run("-k", "surely").ret == 1
    assert job.run("--deselect=assertions/gate.audit.yaml::surely-refuses[ckpt/step100]").ret == 0
    assert summary(job).count("## ❓ geoaudit") == 1
    assert summary(job).count("## ✅ geoaudit: The one assertion passed") == 1


def test_a_path_that_cannot_be_written_is_one_line_and_no_failure(
    job: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "nowhere/summary.md")
    for args in ((), ("-q",)):
        result = job.run("-k", "refuses and not surely", *args)
        assert result.ret == 0
        warning = "no summary: nowhere/summary.md (GITHUB_STEP_SUMMARY) cannot be written: No such file or directory"
        assert result.outlines.count(warning) == 1
        assert "INTERNALERROR" not in output(result)
    assert job.record()["status"] == "complete"


def test_nothing_decided_is_said(job: Project) -> None:
    assert job.run("-k", "no-such-line").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "## ⛔ geoaudit: nothing was decided" in summary(job)
    assert "pytest exit code 5" in summary(job)


def test_no_report_is_said(job: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoaudit.report import html

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(html, "write", fail)
    assert job.run("-k", "refuses and not surely").ret == 1
    assert "No report was written." in summary(job)
    assert "## ❌ geoaudit" in summary(job)


@pytest.mark.parametrize(
    ("args", "model"),
    [(("--geoaudit-plan",), "ckpt/step100"), (("--collect-only",), "ckpt/step100"), (("assertions",), None)],
    ids=["plan", "collect-only", "no-model"],
)
def test_without_an_audit_there_is_none(job: Project, args: tuple[str, ...], model: str | None) -> None:
    job.run(*args, model=model)
    assert not (job.path / "summary.md").exists()
