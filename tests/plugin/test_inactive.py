"""Installed and not asked for, the plugin is not there: no output, no import, nobody's tests changed."""

from __future__ import annotations

import json

import pytest

from tests.plugin.project import Project, output

LOADED = """
import json, sys

def pytest_sessionfinish(session):
    worker = getattr(session.config, "workerinput", {}).get("workerid", "main")
    watched = ("torch", "numpy", "scipy", "transformers", "matplotlib", "yaml", "jinja2", "pydantic")
    found = [name for name in sys.modules if name in watched or name.startswith("geoaudit.")]
    (session.config.rootpath / f"loaded-{worker}.json").write_text(json.dumps(found))
"""
"""A conftest that writes down what heavy things are imported at the end, in each process."""
UNIT_TEST = "def test_unit():\n    pass\n"
NO_AUTOLOAD = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"


@pytest.mark.parametrize(
    ("args", "autoload"),
    [
        (("--strict-markers", "--strict-config", "-W", "error"), True),
        (("-n", "2"), True),
        (("-p", "no:geoaudit"), True),
        (("-p", "geoaudit.plugin"), False),
        (("-p", "no:xdist"), True),
    ],
    ids=["strict", "xdist", "blocked", "named", "without-xdist"],
)
def test_says_and_loads_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], autoload: bool
) -> None:
    if not autoload:
        monkeypatch.setenv(NO_AUTOLOAD, "1")
    project.write("conftest.py", LOADED)
    project.write("test_unit.py", UNIT_TEST)
    result = project.run_apart(*args, model=None)
    result.assert_outcomes(passed=1)
    said = [line for line in output(result).splitlines() if not line.startswith("plugins:")]
    assert not [line for line in said if "geoaudit" in line]
    assert not result.errlines
    loaded = [json.loads(file.read_text()) for file in project.path.glob("loaded-*.json")]
    # Each process has the plugin, unless it is blocked, and nothing else.
    assert loaded == [[] if "no:geoaudit" in args else ["geoaudit.plugin"]] * (3 if "2" in args else 1)
    assert not (project.path / "reports").exists()
    assert not (project.path / "cache").exists()


def test_a_fixture_called_audit_stays_the_projects_own(project: Project) -> None:
    project.write(
        "test_own.py",
        """
        import pytest

        @pytest.fixture(params=["a", "b"])
        def audit(request):
            return request.param

        def test_own(audit):
            assert audit in "ab"
        """.replace("\n        ", "\n"),
    )
    result = project.run("-v", model=None)
    result.stdout.fnmatch_lines(["test_own.py::test_own?a? PASSED*", "test_own.py::test_own?b? PASSED*"])
    assert result.ret == 0


def test_an_option_without_a_checkpoint_is_an_error(project: Project) -> None:
    project.write("test_unit.py", UNIT_TEST)
    for option in ("--geoaudit-plan", "--geoaudit-suite=smoke"):
        result = project.run(option, model=None)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"{option.partition('=')[0]} needs a checkpoint: name one with --geoaudit-model" in output(result)


def test_help_shows_every_option_with_text(project: Project) -> None:
    result = project.run_apart("--help", model=None)
    assert result.ret == 0
    options, _, ini = output(result).partition("[pytest] configuration options")
    group = options[options.index("\ngeoaudit: audit the safety geometry") :].partition("\n\n")[0]
    for option in (
        *("model", "suite", "plan", "allow-inconclusive", "profile", "report", "store", "device", "dtype", "base"),
        *("template", "system", "data"),
    ):
        _, found, after = group.partition(f"--geoaudit-{option}")
        assert found, option
        words = after.partition("\n  --")[0].partition("=")[2] or after
        assert len(words.split()) > 4, option
    for key in ("suites", "require", "profile", "report", "store", "device", "dtype", "base", "template", "data"):
        assert f"\n  geoaudit_{key} (" in ini
