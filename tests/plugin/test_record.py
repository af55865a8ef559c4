"""The record and the report: whole, without NaN, without text of prompts and completions, safe with hostile names."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from geoaudit.audit.provenance import is_intact
from geoaudit.audit.record_schema import record_schema
from tests.plugin.project import FOUR, LAYER, RANK, RATE, REFUSES, UNSURE, XDIST, Project, line, output

BOTH = ("ckpt/step50", "ckpt/step100")
EVERYTHING = (*FOUR, RANK, line("not-measured", "refusal_rate", with_={**RATE, "source": "advbench"}, at_least=0.5))


@XDIST
def test_the_record_is_whole(project: Project, args: tuple[str, ...]) -> None:
    suite = project.suite(*EVERYTHING)
    run = project.run_apart if args else project.run
    run(*args, model=BOTH)
    record = project.record()  # refuses NaN
    jsonschema.validate(record, record_schema(), jsonschema.Draft202012Validator)
    assert is_intact(record)
    assert record["geoaudit_record"] == 2
    assert record["status"] == "complete"
    assert record["command"][0] == "pytest"
    assert "--geoaudit-model=ckpt/step50" in record["command"]
    assert [one["name"] for one in record["checkpoints"]] == list(BOTH)
    for checkpoint in record["checkpoints"]:
        assert len(checkpoint["id"]) == len(checkpoint["weights_sha256"]) == 64
        assert checkpoint["n_layers"] == 6
        assert checkpoint["template"]["post_tokens"] == ["<|end|>", "<|assistant|>", "<|answer|>"]
    assert [(one["name"], one["file"]) for one in record["suites"]] == [("gate", "assertions/gate.audit.yaml")]
    _assertions_and_measurements(record, suite)
    assert {"python", "torch", "transformers", "device", "threads"} <= set(record["environment"])
    assert record["timings"]["total"] > 0


def _assertions_and_measurements(record: dict, suite: Path) -> None:
    lines = suite.read_text().splitlines()
    measurements = {one["key"]: one for one in record["measurements"]}
    assert len(measurements) == len(record["measurements"])
    assert len(record["assertions"]) == len(EVERYTHING) * 2
    for assertion in record["assertions"]:
        assert f'"id": "{assertion["id"]}"' in lines[assertion["line"] - 1]
        found = measurements[assertion["measurement"]]
        assert found["checkpoint"] == assertion["checkpoint"]
        assert found["measure"] == assertion["measure"]
        if assertion["id"] == "not-measured":
            assert found["estimate"] is None
            assert "advbench" in found["why_missing"]
            continue
        assert found["low"] <= found["estimate"] <= found["high"]
        assert found["n"] > 0
        assert all(len(sha) == 64 for sha in found["inputs"].values())
        if assertion["measure"].endswith("_rate"):
            rows = record["completions"][found["detail"]["completions"]]["rows"]
            assert len(rows) == found["n"] == 16
            assert set(rows[0]) == {"id", "sha256", "category", "label", "reason", "score", "tokens", "exchange"}


def test_no_text_of_prompts_or_completions(project: Project) -> None:
    """A record is handed round: what was asked and what was answered is in it as hashes and labels only."""
    from geoaudit.prompts.sources import load
    from tests.model.planted import ANSWER

    project.suite(*FOUR)
    project.run(model=BOTH)
    names = ("harmful", "probe-harmful-train", "probe-harmful-validation", "probe-harmless-validation")
    secrets = [prompt.text for name in names for prompt in load(name).prompts] + [ANSWER]
    for file in ("reports/geoaudit.json", "reports/geoaudit.html"):
        text = (project.path / file).read_text(encoding="utf-8")
        plain = json.loads(text) if file.endswith("json") else text
        assert not [secret for secret in secrets if secret in str(plain)]


def test_written_in_one_step(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays until the new one is whole, and nothing else is left lying about."""
    project.suite(REFUSES)
    project.run()
    before = {path.name: path.read_bytes() for path in (project.path / "reports").iterdir()}
    assert set(before) == {"geoaudit.json", "geoaudit.html"}
    write = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if "geoaudit" in self.name:
            raise OSError(28, "No space left on device")
        return write(self, target)

    project.suite(UNSURE)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        result = project.run()
    assert {path.name: path.read_bytes() for path in (project.path / "reports").iterdir()} == before
    assert result.ret == 1
    # the outcomes are not lost with the report
    result.stdout.fnmatch_lines(["inconclusive *surely-refuses*"])
    assert "reports/geoaudit.html cannot be written: No space left on device" in " ".join(output(result).split())
    assert "Traceback" not in output(result)


def test_a_green_audit_without_its_report_is_red(project: Project) -> None:
    project.write(
        "conftest.py",
        """
from pathlib import Path

def pytest_runtest_teardown(item):
    Path("out").write_text("a file where the folder should be")
""",
    )
    project.suite(REFUSES)
    result = project.run("--geoaudit-report=out/report.html")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert "no report:" in output(result)
    assert "pytest exit code 1:" in output(result)


def test_report_elsewhere_and_the_record_beside_it(project: Project) -> None:
    project.suite(REFUSES)
    result = project.run("--geoaudit-report=deep/down/audit.v2.html")
    assert project.outcomes("deep/down/audit.v2.html") == {"refuses ckpt/step100": "passed"}
    assert (project.path / "deep/down/audit.v2.html").read_text().startswith("<!DOCTYPE html>")
    assert "report: deep/down/audit.v2.html" in result.outlines
    assert not (project.path / "reports").exists()


HOSTILE = {
    "markup": "<script>alert(1)</script>",
    "newline": "two\nlines",
    "brackets": "a[b]c*?",
    "escape": "\x1b[31mred",
    "quotes": "\"';&",
    "unicode": "ünï\u202ecode",
    "colons": "a::b",
    "long": "x" * 200,
}
SHOWN = {"two\nlines": r"two\nlines", "\x1b[31mred": r"\x1b[31mred", "ünï\u202ecode": r"ünï\u202ecode"}
"""What moves the cursor or turns the text is written out."""


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_of_folders(project: Project, name: str) -> None:
    folder, called = name.replace("/", "-"), SHOWN.get(name, name.replace("/", "-"))
    project.link(project.path / "ckpt/step100", f"run/{folder}")
    project.suite(REFUSES, LAYER)
    result = project.run("-v", "--junitxml=junit.xml", model=f"run/{folder}")
    assert result.ret == 0, output(result)
    assert project.outcomes() == {f"refuses run/{called}": "passed", f"carrier-stays run/{called}": "passed"}
    assert any(f"::refuses[run/{called}] PASSED" in one for one in result.outlines)
    html = (project.path / "reports/geoaudit.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1, "the page's own"
    for text in (output(result), html, ET.tostring(ET.parse(project.path / "junit.xml").getroot(), "unicode")):
        assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.slow
def test_hostile_names_under_xdist(project: Project) -> None:
    names = [name.replace("/", "-") for name in HOSTILE.values()]
    for name in names:
        project.link(project.path / "ckpt/step100", f"run/{name}")
    project.suite(REFUSES)
    result = project.run_apart("-n", "2", model=tuple(f"run/{name}" for name in names))
    assert result.ret == 0, output(result)
    assert set(project.outcomes()) == {f"refuses run/{SHOWN.get(name, name)}" for name in names}
    assert project.record()["status"] == "complete"
