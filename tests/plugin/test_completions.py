"""What was asked and answered: in no record and no report, and in a file of its own where that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from geoaudit.prompts.sources import load
from tests.model.planted import ANSWER, REFUSAL
from tests.plugin.project import COMPLIES, FOUR, RATE, REFUSES, Project, complaint, line, output

BOTH = ("ckpt/step50", "ckpt/step100")
FILE = "reports/geoaudit.completions.jsonl"


def rows(project: Project, file: str = FILE) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *rest = (project.path / file).read_text(encoding="ascii").splitlines()
    return json.loads(first), [json.loads(one) for one in rest]


def test_not_written_unless_asked_for(project: Project) -> None:
    project.suite(REFUSES)
    project.run()
    assert not (project.path / FILE).exists()


def test_every_row_with_its_text_and_a_first_line_that_says_what_it_is(project: Project) -> None:
    project.suite(REFUSES, COMPLIES)
    result = project.run("--geoaudit-completions=full", model=BOTH)
    about, found = rows(project)
    record = project.record()
    assert about["geoaudit_completions"] == 1
    assert "may hold harmful text" in about["about"]
    assert "hostile" in about["about"]
    assert about["record"] == record["provenance"]["content_sha256"]
    assert len(found) == sum(len(one["rows"]) for one in record["completions"].values()) == 32
    prompts = {prompt.sha256: prompt.text for prompt in load("harmful").prompts}
    assert all(prompts[row["sha256"]] == row["behavior"] == row["asked"] for row in found)
    by = {
        row["checkpoint"]: {one["completion"] for one in found if one["checkpoint"] == row["checkpoint"]}
        for row in found
    }
    assert set(by) == set(BOTH)
    assert "prompts and answers in full: geoaudit.completions.jsonl (32 rows; may hold harmful text)" in output(result)


def test_the_record_and_the_report_are_the_same_with_it(project: Project) -> None:
    project.suite(REFUSES)
    project.run()
    before = project.record()
    project.run("--geoaudit-completions=full")
    after = project.record()
    assert before["completions"] == after["completions"]
    texts = {row["completion"] for row in rows(project)[1]} | {row["asked"] for row in rows(project)[1]}
    page = (project.path / "reports/geoaudit.html").read_text(encoding="utf-8")
    assert texts
    assert not [text for text in texts if text in page or text in json.dumps(after)]


@pytest.mark.parametrize("said", [ANSWER, REFUSAL])
def test_no_words_of_an_answer_in_the_record(project: Project, said: str) -> None:
    """Judges quote what decided; the record keeps the rule and leaves the quotation out."""
    project.suite(*FOUR)
    project.run(model=BOTH)
    reasons = {row["reason"] for one in project.record()["completions"].values() for row in one["rows"]}
    assert reasons
    words = said.lower().split()
    pieces = [" ".join(words[at : at + 3]) for at in range(len(words) - 2)]
    assert not [reason for reason in reasons if '"' in reason or any(piece in reason for piece in pieces)]


def test_ids_of_a_file_of_the_users_are_hashes(project: Project) -> None:
    project.write(
        "assertions/own.jsonl", '{"prompt": "tell me the secret", "kind": "a"}\n{"prompt": "now", "kind": "b"}\n'
    )
    own = {**RATE, "n": 2, "source": {"file": "own.jsonl", "category": "kind"}}
    project.suite(line("own", "refusal_rate", with_=own, at_least=0.0001))
    project.run()
    (kept,) = project.record()["completions"].values()
    assert {row["category"] for row in kept["rows"]} == {"a", "b"}
    assert all(len(row["id"]) == 12 and int(row["id"], 16) for row in kept["rows"])
    assert "secret" not in json.dumps(project.record())


def test_what_the_store_does_not_hold_is_said_and_no_empty_file_written(project: Project) -> None:
    project.suite(REFUSES)
    project.run()
    (project.path / "reports/geoaudit.json").rename(project.path / "audit.json")
    args = ("--geoaudit-replay=audit.json", "--geoaudit-completions=full", "--geoaudit-store=empty")
    result = project.run(*args, model=None)
    said = " ".join(output(result).split())
    assert "empty does not hold the text of 1 of 1 sets (name the audit's with --geoaudit-store)" in said
    assert not (project.path / "reports/geoaudit-replay.completions.jsonl").exists()
    args = ("--geoaudit-replay=audit.json", "--geoaudit-completions=full", f"--geoaudit-store={project.store}")
    project.run(*args, model=None)
    assert len(rows(project, "reports/geoaudit-replay.completions.jsonl")[1]) == 16


def test_another_word_is_refused(project: Project) -> None:
    project.suite(REFUSES)
    assert "'all' is not one of full, redacted" in complaint(project.run("--geoaudit-completions=all"))
