"""pytest's own exit codes, and what each means for an audit: the README's sentence, case by case."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.project import REFUSES, UNSURE, Project, complaint, line, output

README = Path(__file__).resolve().parents[2] / "README.md"
CHANGE = line("no-more-succeed", "attack_success_rate", change_at_most=0.3)
BROKEN: dict[str, Any] = {
    "absent": None,
    "empty": "",
    "no-json": "{",
    "no-record": "{}",
    "another": '{"geoaudit_record": 99}',
    "truncated": '{"geoaudit_record": 2, "checkpoints": [',
    "hollow": '{"geoaudit_record": 2}',
    "a-list": "[1, 2]",
    "not-utf-8": b"\xff\xfe\x00",
    "deep": "[" * 5000,
}


def test_the_readme_says_what_is_tested_here() -> None:
    (sentence,) = re.findall(r"Exit codes are pytest's: (.*?)\n\n", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [int(code) for code in re.findall(r"(?:^|, )(\d) ", " ".join(sentence.split()))] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("lines", "args", "code"),
    [
        ([REFUSES], (), 0),
        ([UNSURE], ("--geoaudit-allow-inconclusive",), 0),
        ([REFUSES], ("--geoaudit-plan",), 0),
        ([REFUSES], ("--collect-only",), 0),
        ([UNSURE], (), 1),
        ([REFUSES, {**REFUSES, "id": "more", "at_least": 1, "with": {**REFUSES["with"], "judge": "refusal"}}], (), 1),
        ([CHANGE], (), 1),
        ([REFUSES, {**REFUSES, "mesure": "x"}], (), 2),
        ([REFUSES], ("-k", "no-such-line"), 5),
        ([{**REFUSES, "checkpoints": "other/*"}], (), 5),
    ],
    ids=[
        "passed",
        "allowed",
        "plan",
        "collect",
        "inconclusive",
        "mixed",
        "no-baseline",
        "broken",
        "nothing",
        "no-match",
    ],
)
def test_of_an_audit(project: Project, lines: list[dict[str, Any]], args: tuple[str, ...], code: int) -> None:
    project.suite(*lines)
    result = project.run(*args)
    assert result.ret == code, output(result)
    assert "Traceback" not in output(result)


def test_without_a_suite_of_ones_own_the_shipped_ones_are_there(project: Project) -> None:
    assert project.run("--collect-only", "-q").ret == 0


def test_another_test_that_fails(project: Project) -> None:
    project.suite(REFUSES)
    project.write("assertions/test_other.py", "def test_other():\n    assert 0\n")
    assert project.run().ret == 1
    assert project.record()["exit"]["reason"] == "1 passed (another test did not pass)"


@pytest.mark.parametrize("option", ["--geoaudit-baseline", "--geoaudit-replay"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_record_that_is_none_is_refused_before_anything_is_measured(project: Project, kind: str, option: str) -> None:
    """One line with the file's name, and no traceback; never a run without what was asked for."""
    content = BROKEN[kind]
    if content is not None:
        (project.path / "old.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    project.suite(REFUSES, CHANGE)
    result = project.run(f"{option}=old.json", model="ckpt/step100" if "baseline" in option else None)
    message = complaint(result)
    assert "old.json" in message
    assert len(message) < 700
    assert not (project.path / "reports").exists()


@pytest.mark.parametrize("option", ["--geoaudit-baseline", "--geoaudit-replay"])
@pytest.mark.parametrize(
    ("part", "value"),
    [("checkpoints", {}), ("checkpoints", [{}]), ("measurements", [3]), ("completions", {"a": 3}), ("profile", 3)],
    ids=str,
)
def test_a_record_with_a_part_that_is_none_is_no_crash(project: Project, part: str, value: Any, option: str) -> None:
    """Somebody's record, without a seal: a sentence, and never green."""
    project.suite(REFUSES, {**CHANGE, "change_at_most": 0.01})
    project.run("--geoaudit-baseline=ckpt/step100", "--geoaudit-report=old.html")
    record = json.loads((project.path / "old.json").read_text())
    record["provenance"].pop("content_sha256")  # with it every change is found out at once
    (project.path / "old.json").write_text(json.dumps({**record, part: value}))
    message = complaint(project.run(f"{option}=old.json", model="ckpt/step100" if "baseline" in option else None))
    assert "old.json is not a whole record" in message
