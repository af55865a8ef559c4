"""What xdist can do to an audit: workers that die, runs that stop early, every way of handing out tests."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.plugin.project import COMPLIES, FOUR, REFUSES, UNSURE, XDIST, Project, line, output
from tests.plugin.test_outcomes import EXPECTED

pytestmark = pytest.mark.slow

STEP100 = {name: outcome for name, outcome in EXPECTED.items() if name.endswith("step100")}
DIES_MEASURING = """
import os
from pathlib import Path
from geoaudit.audit.fulfilling import Fulfilling

original = Fulfilling._fulfil

def die(self, benches, work, expected):
    try:
        Path("died").touch(exist_ok=False)
    except FileExistsError:
        return original(self, benches, work, expected)
    os._exit(3)

if "PYTEST_XDIST_WORKER" in os.environ:
    Fulfilling._fulfil = die
"""
"""A conftest whose first worker to measure dies with the lock in its hand."""
DIES_RUNNING = """
import os

def pytest_runtest_call(item):
    if item.name.startswith({name!r}):
        os._exit(3)
"""


@pytest.mark.parametrize(
    "args",
    [
        ("-n", "0"),
        ("-n", "2", "--dist", "loadscope"),
        ("-n", "2", "--dist", "worksteal", "-p", "no:terminal"),
        ("--dist", "each", "--tx", "2*popen"),
    ],
    ids=" ".join,
)
def test_every_way_of_handing_out_tests_gives_the_same_record(project: Project, args: tuple[str, ...]) -> None:
    project.suite(*FOUR)
    result = project.run_apart(*args, "--junitxml=junit.xml")
    assert result.ret == 1, output(result)
    assert "INTERNALERROR" not in output(result)
    assert project.outcomes() == STEP100
    record = project.record()
    assert record["status"] == "complete"
    assert [one["name"] for one in record["suites"]] == ["gate"]
    assert record["exit"]["reason"] == "1 failed, 1 inconclusive, 2 passed (not every assertion passed)"
    cases = {case.get("name"): case for case in ET.parse(project.path / "junit.xml").getroot().iter("testcase")}
    assert {f"{name.split()[0]}[ckpt/step100]" for name in STEP100} <= {str(name) for name in cases}
    for case in cases.values():
        assert any(each.get("name") == "geoaudit_outcome" for each in case.iter("property"))


def test_a_worker_that_dies_while_it_measures_blocks_nobody(project: Project) -> None:
    """Its lock is free again, another worker measures, and the assertion that was lost is red and counted."""
    project.write("conftest.py", DIES_MEASURING)
    project.suite(REFUSES, COMPLIES, UNSURE)
    result = project.run_apart("-n", "2", "--geoaudit-store=store")
    assert result.ret == 1
    assert output(result).count("crashed while running") == 1
    found = project.outcomes()
    assert len(found) == 2
    assert found.items() <= STEP100.items()
    record = project.record()
    assert record["status"] == "incomplete"
    assert "1 not decided" in record["exit"]["reason"]
    # what was measured is kept, and the same command finishes
    result = project.run("--geoaudit-store=store")
    assert "measurements to make" not in output(result)
    assert len(project.outcomes()) == 3
    assert project.record()["status"] == "complete"


def test_when_all_workers_die_nothing_is_green(project: Project) -> None:
    project.write("conftest.py", DIES_RUNNING.format(name=""))
    project.suite(REFUSES, COMPLIES)
    result = project.run_apart("-n", "2", "--max-worker-restart=0")
    assert result.ret not in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "no assertion was decided" in output(result)
    assert not (project.path / "reports").exists()


def test_a_python_test_that_dies_leaves_the_record_incomplete(project: Project) -> None:
    project.write("conftest.py", DIES_RUNNING.format(name="test_python"))
    project.suite(REFUSES)
    project.write("assertions/test_it.py", "def test_python(audit):\n    assert audit.refusal_rate('harmful') >= 0\n")
    result = project.run_apart("-n", "2")
    assert result.ret == 1
    assert project.outcomes() == {"refuses ckpt/step100": "passed"}
    record = project.record()
    assert record["status"] == "incomplete"
    assert "1 worker lost" in record["exit"]["reason"]


def test_a_run_that_stops_early_is_incomplete_and_counts_the_rest(project: Project) -> None:
    wrong: list[dict[str, Any]] = [{**COMPLIES, "id": f"complies-{i}"} for i in range(6)]
    project.suite(*wrong, REFUSES)
    result = project.run_apart("-n", "2", "--dist", "loadfile", "-x")
    assert result.ret in (1, 2), output(result)
    assert "INTERNALERROR" not in output(result)
    record = project.record()
    assert record["status"] == "incomplete"
    decided = len(record["assertions"])
    assert 1 <= decided < 7
    assert f"{7 - decided} not decided" in record["exit"]["reason"]
    assert "Incomplete" in output(result)


@XDIST
def test_what_failed_last_is_run_again_and_is_all_that_is_counted(project: Project, args: tuple[str, ...]) -> None:
    """With other plugins' caches as a person has them: `--lf` finds the ids again that pytest wrote down."""
    project.suite(*FOUR)
    cached = project.command()
    del cached[cached.index("no:cacheprovider") - 1 : cached.index("no:cacheprovider") + 1]
    for more, expected in (((), STEP100), (("--lf",), {k: v for k, v in STEP100.items() if v != "passed"})):
        result = project.pytester.run(sys.executable, "-m", "pytest", *cached, *args, *more, timeout=120)
        assert result.ret == 1, output(result)
        assert project.outcomes() == expected
        assert project.record()["status"] == "complete"


def test_hostile_text_crosses_from_worker_to_controller(project: Project) -> None:
    """A template's own message, with a lone surrogate that no encoder takes and an escape that clears the screen."""
    project.write("own.jinja", "{{ raise_exception('not \\ud800 \\x1b[2J welcome') }}")
    project.suite(REFUSES)
    for args in ((), ("-n", "2")):
        run = project.run_apart if args else project.run
        result = run("--geoaudit-template=own.jinja", "--geoaudit-store=store", *args)
        assert result.ret == 1, output(result)
        assert set(project.outcomes().values()) == {"invalid"}
        assert "\x1b" not in output(result)
        assert "welcome" in output(result)
        assert "INTERNALERROR" not in output(result)


def test_changes_are_decided_together_on_every_worker(project: Project) -> None:
    """Holm is over all change lines, whichever worker decides which; the baseline is measured once for all of them."""
    changes = [
        line("no-more-succeed", "attack_success_rate", change_at_most=0.3),
        line("refuses-no-less", "refusal_rate", change_at_least=-0.3),
        line("barely-changes", "attack_success_rate", change_at_most=0.05),
    ]
    project.suite(REFUSES, *changes)
    asked = ("--geoaudit-baseline=ckpt/step100", "--geoaudit-store=new")
    both = project.run_apart(*asked, "-n", "2", model="ckpt/step50")
    assert both.ret == 1, output(both)
    assert output(both).count(": loading") == 2  # the candidate and the baseline, each once
    many = project.record()
    project.run("--geoaudit-baseline=ckpt/step100", model="ckpt/step50")
    alone = project.record()
    assert many["assertions"] == alone["assertions"]
    assert many["baseline"] == alone["baseline"]
    assert {one["result"]["lines"] for one in alone["assertions"] if one["kind"] == "change"} == {3}
    project.run("--geoaudit-baseline=ckpt/step100", "-k", "no-more", model="ckpt/step50")
    (one,) = project.record()["assertions"]
    assert one["result"] == next(each for each in alone["assertions"] if each["id"] == one["id"])["result"]
