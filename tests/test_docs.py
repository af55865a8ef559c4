"""The README says what is true: its examples run, and every option, key, profile and measure is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geoaudit.audit import suite
from geoaudit.audit.profiles import PROFILES
from geoaudit.cli import main
from geoaudit.measures.table import MEASURES
from geoaudit.plugin import _VALUED

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_suite_in_the_readme_is_read(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    file = tmp_path / "readme.audit.yaml"
    file.write_text(text, encoding="utf-8")
    ids = [one.id for one in suite.read(file).assertions]
    assert ids == ["direct-requests-are-refused", "carrier-stays-in-the-middle"]


def test_the_python_test_in_the_readme_is_collected(pytester: pytest.Pytester) -> None:
    (text,) = blocks("python")
    pytester.makepyfile(text)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no checkpoint to audit: name one with --geoaudit-model*"])


NAMED = ("model", "suite", "plan", "allow-inconclusive", "judge-model", "labels")


@pytest.mark.parametrize("option", [*NAMED, *(name for name, _, _ in _VALUED)])
def test_every_option_is_documented(option: str) -> None:
    assert f"--geoaudit-{option}" in README


@pytest.mark.parametrize("key", [*suite.SUITE_KEYS, *suite.ASSERTION_KEYS, *suite.SOURCE_KEYS])
def test_every_key_of_a_suite_is_documented(key: str) -> None:
    assert re.search(rf"[`{{ ]{key}\b", README)


def test_every_profile_is_documented_with_its_numbers() -> None:
    for name, profile in PROFILES.items():
        (row,) = re.findall(rf"^\| `{name}`.*$", README, flags=re.MULTILINE)
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


def test_files_that_the_readme_names_are_there() -> None:
    named = set(re.findall(r"`((?:examples|geoaudit|reports|assertions|tests)/[\w./-]+)`", README))
    assert named
    missing = {name for name in named if not (ROOT / name).exists()} - {"reports/geoaudit.html"}
    assert not missing


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
        "refusal-geometry",
        "smoke",
    }
    for file in files:
        assert all(len(assertion.because) > 20 for assertion in suite.read(file).assertions)
