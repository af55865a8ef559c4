"""Options by command line and ini file: which wins, what paths are relative to, what each does to the audit."""

from __future__ import annotations

import pytest

from geoaudit import plugin
from geoaudit.items import SUFFIX, shipped_suites
from tests.plugin.project import PLAIN, RATE, REFUSES, Project, complaint, line, output


def test_paths_of_the_ini_file_are_relative_to_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("prompt.txt", "You are kind.")
    project.write(
        "pytest.ini",
        "[pytest]\ngeoaudit_report = out/audit.html\ngeoaudit_store = kept\ngeoaudit_system = prompt.txt\n",
    )
    project.suite(REFUSES)
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    result = project.pytester.runpytest_inprocess(*PLAIN, "--geoaudit-model=../ckpt/step100")
    assert result.ret == 0, output(result)
    assert project.outcomes("out/audit.html") == {"refuses ckpt/step100": "passed"}
    assert project.record("out/audit.html")["checkpoints"][0]["system_prompt"] == "You are kind."
    assert list((project.path / "kept").glob("rows-*.sqlite3"))
    assert not list((project.path / "below").iterdir())


def test_paths_of_the_command_line_are_relative_to_where_it_is_typed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pytest.ini", "[pytest]\ngeoaudit_report = out/audit.html\n")
    suite = project.suite(REFUSES, folder="elsewhere")
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    args = (f"--geoaudit-suite=../elsewhere/{suite.name}", "--geoaudit-report=here.html", "--geoaudit-store=kept")
    result = project.pytester.runpytest_inprocess(*PLAIN, "--geoaudit-model=../ckpt/step100", *args)
    assert result.ret == 0, output(result)
    assert project.outcomes("below/here.html") == {"refuses ckpt/step100": "passed"}
    assert (project.path / "below" / "kept").is_dir()
    assert not (project.path / "out").exists()


@pytest.mark.parametrize("text", ["Be kind.", "Be kind. " * 60], ids=["short", "longer-than-a-file-name"])
def test_system_prompt_as_text(project: Project, text: str) -> None:
    project.suite(REFUSES)
    result = project.run(f"--geoaudit-system={text}", "--geoaudit-store=store")
    assert result.ret == 0, output(result)
    assert project.record()["checkpoints"][0]["system_prompt"] == text


def test_a_template_for_a_checkpoint_that_has_none(project: Project) -> None:
    folder = project.link(project.path / "ckpt/step100", "base/model")
    (folder / "chat_template.jinja").unlink()
    project.suite(REFUSES)
    result = project.run("--geoaudit-template=chatml", "--geoaudit-store=store", model="base/model")
    assert result.ret in (0, 1), output(result)
    template = project.record()["checkpoints"][0]["template"]
    assert template["origin"] == "named on the command line"
    assert "<|im_start|>" in template["rendered"]


def test_a_template_of_ones_own_in_a_file(project: Project) -> None:
    own = (project.path / "ckpt/step100/chat_template.jinja").read_text()
    project.write("own.jinja", own)
    project.suite(REFUSES)
    result = project.run("--geoaudit-template=own.jinja", "--geoaudit-store=store")
    assert result.ret == 0, output(result)
    assert project.record()["checkpoints"][0]["template"]["origin"] == "named on the command line"


def test_a_template_that_does_not_render_is_invalid(project: Project) -> None:
    """Only the tokenizer can tell; every assertion says so, and none is left without a verdict."""
    project.write("own.jinja", "{{ raise_exception('no user is welcome here') }}")
    project.suite(REFUSES, line("rank", "effective_rank", with_={"n_train": 32}, at_most=20))
    result = project.run("--geoaudit-template=own.jinja", "--geoaudit-store=store")
    assert result.ret == 1
    assert set(project.outcomes().values()) == {"invalid"}
    assert len(project.outcomes()) == 2
    assert "no user is welcome here" in output(result)


def test_prompts_of_ones_own(project: Project) -> None:
    """Relative to the suite; the record holds neither their text nor the folder."""
    from geoaudit.prompts.sources import load

    prompts = load("harmful").prompts[:20]
    project.write("assertions/mine.csv", "prompt,topic\n" + "".join(f'"{one.text}",cars\n' for one in prompts))
    source = {"file": "mine.csv", "column": "prompt", "category": "topic", "label": "harmful"}
    project.suite(line("mine", "refusal_rate", with_={**RATE, "source": source}, at_least=0.5))
    result = project.run("--geoaudit-store=store")
    assert result.ret == 0, output(result)
    text = (project.path / "reports/geoaudit.json").read_text()
    assert "mine.csv" in text
    assert prompts[0].text not in text
    assert str(project.path / "assertions") not in text


def test_a_device_that_is_not_here_is_said_at_the_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    project.suite(REFUSES, line("rank", "effective_rank", with_={"n_train": 32}, at_most=20))
    for device in ("cuda", "cuda:3"):
        said = complaint(project.run(f"--geoaudit-device={device}", "--geoaudit-store=store"))
        assert f"device {device!r} was asked for, and torch sees no such device here" in said


def test_every_shipped_suite_stands_in_the_help() -> None:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    options = [one for group in parser._groups for one in group.options]
    said = next(one.attrs()["help"] for one in options if "--geoaudit-suite" in one.names())
    listed = said.partition("(")[2].rstrip(")").split(", ")
    assert sorted(listed) == sorted(one.name.removesuffix(SUFFIX) for one in shipped_suites().glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("given", ["{}", "--geoaudit-suite={}"])
def test_a_suite_by_another_name_is_told_how_it_must_be_called(project: Project, given: str) -> None:
    suite = project.suite(REFUSES)
    suite.rename(project.path / "mine.yaml")
    said = complaint(project.run(given.format("mine.yaml")))
    assert "mine.yaml: a suite is a file called *.audit.yaml: rename it, for example to mine.audit.yaml" in said


@pytest.mark.parametrize("args", [("--strict-markers", "--strict-config", "-W", "error"), ("-p", "no:xdist")])
def test_an_active_audit_is_a_good_neighbour_too(project: Project, args: tuple[str, ...]) -> None:
    project.suite(REFUSES)
    project.run(*args).assert_outcomes(passed=1)


def test_without_autoload(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project.suite(REFUSES)
    project.run("-p", "geoaudit.plugin").assert_outcomes(passed=1)
