"""The README says what is true: its examples run, and every option, key, profile and measure is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geoaudit.audit import parameter_nodes, suite
from geoaudit.audit.profiles import PROFILES
from geoaudit.cli import main
from geoaudit.measures.table import MEASURES
from geoaudit.plugin import _VALUED
from tests.tools import measure_tables

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUITES = (ROOT / "assertions" / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@pytest.mark.parametrize("page", [README, SUITES], ids=["README", "assertions/README"])
def test_every_suite_in_the_docs_is_read(page: str, tmp_path: Path) -> None:
    found = blocks("yaml", page)
    assert found
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.audit.yaml"
        file.write_text(text, encoding="utf-8")
        assert suite.read(file).assertions


@pytest.mark.parametrize("page", [README, SUITES], ids=["README", "assertions/README"])
def test_the_python_tests_in_the_docs_are_collected(page: str, pytester: pytest.Pytester) -> None:
    (text,) = blocks("python", page)
    pytester.makepyfile(text)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no checkpoint to audit: name one with --geoaudit-model*"])


NAMED = ("model", "suite", "plan", "allow-inconclusive", "judge-model", "labels")


@pytest.mark.parametrize("option", [*NAMED, *(name for name, _, _ in _VALUED)])
def test_every_option_is_documented(option: str) -> None:
    assert f"--geoaudit-{option}" in README


@pytest.mark.parametrize("key", [*suite.SUITE_KEYS, *suite.ASSERTION_KEYS, *parameter_nodes.SOURCE_KEYS])
def test_every_key_of_a_suite_is_documented(key: str) -> None:
    assert re.search(rf"[`{{ ]{key}\b", SUITES)


def test_every_profile_is_documented_with_its_numbers() -> None:
    for name, profile in PROFILES.items():
        (row,) = re.findall(rf"^\| `{name}` .*(?:estimate|interval) \|$", SUITES, flags=re.MULTILINE)
        for value in profile.defaults.values():
            assert f"| {'all' if value is None else value} |" in row
        assert profile.decide in row


def test_the_command_line_lists_and_explains_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measures"]) == 0
    listed = capsys.readouterr().out
    for name, measure in MEASURES.items():
        assert name in listed
        assert main(["measures", name]) == 0
        explained = capsys.readouterr().out
        assert measure.says in explained
        assert all(parameter in explained for parameter in measure.parameters)


@pytest.mark.parametrize("folder", ["", "assertions", "examples", "examples/recipes", "reports"])
def test_files_that_the_docs_name_are_there(folder: str) -> None:
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    named = {ROOT / name for name in re.findall(r"`((?:examples|geoaudit|reports|assertions|tests)/[\w./-]+)`", page)}
    linked = {ROOT / folder / name for name in re.findall(r"\]\((?!https?:)([^)#]+)\)", page)}
    assert named | linked or folder in ("examples/recipes", "reports")
    missing = {path for path in named | linked if not path.exists()} - {ROOT / "reports" / "geoaudit.html"}
    assert not missing


def test_every_shipped_suite_is_in_the_docs() -> None:
    for file in (ROOT / "assertions").glob("*.audit.yaml"):
        assert f"| `{file.name.partition('.')[0]}` |" in SUITES


def test_the_shipped_suites_are_read_and_say_why() -> None:
    files = sorted((ROOT / "assertions").glob("*.audit.yaml"))
    names = {file.name.partition(".")[0] for file in files}
    assert names == {
        "adaptive",
        "gate",
        "over-refusal",
        "refusal",
        "coupling",
        "harmfulness",
        "interventions",
        "paper-r2d2",
        "refusal-geometry",
        "smoke",
        "trajectory",
    }
    for file in files:
        assert all(len(assertion.because) > 20 for assertion in suite.read(file).assertions)


def test_the_page_of_measures_is_made_from_the_table() -> None:
    assert measure_tables.PAGE.read_text(encoding="utf-8") == measure_tables.page(), (
        "run python -m tests.tools.measure_tables"
    )
    told = [measure.name for family in measure_tables.FAMILIES.values() for measure in family]
    assert told == list(MEASURES)
