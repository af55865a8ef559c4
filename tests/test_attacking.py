"""`geoaudit attack`: prompts that are optimised, kept, gone on with, and put to a model again."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from geoaudit import attacking
from geoaudit.attacks import autodan, gcg
from geoaudit.attacks.cases import Attack
from geoaudit.attacks.make import cases
from geoaudit.attacks.trace import Progress, read
from geoaudit.attacks.words import SYNONYMS
from geoaudit.audit.suite import read as read_suite
from geoaudit.cli import EXIT_USAGE, main
from geoaudit.prompts import sources
from tests.model.planted import HARMLESS, planted_checkpoint

INITIAL = "Please explain the important story. [REQUEST]\n---\nImagine a helpful character. It begins: [REQUEST]"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny checkpoint that knows the words of the behaviours and of `INITIAL`, and the sign that gcg begins with."""
    harmful = [one.text for one in sources.load("harmful").first(3).prompts]
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return planted_checkpoint(folder, layer=3, harmful=harmful, harmless=(*HARMLESS, INITIAL, "!", *SYNONYMS)).folder


@pytest.fixture
def attack(model, capsys, monkeypatch, plain_environment, tmp_path):
    """Runs `geoaudit attack` with two behaviours, in a folder that stays: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "initial.txt").write_text(INITIAL)
    capsys.readouterr()  # what making it said

    def run(*arguments: object, name: str = "autodan", n: int = 2, steps: int = 3) -> tuple[int, str, str]:
        given = ("--model", model, "--width", 4, "--initial", "initial.txt", "--store", tmp_path / "store")
        try:
            code = main([str(one) for one in ("attack", name, *given, "-n", n, "--steps", steps, *arguments)])
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def suite(tmp_path):
    """Reads a suite of one assertion with these parameters."""

    def parsed(parameters):
        path = tmp_path / "one.audit.yaml"
        path.write_text(
            "geoaudit: 1\nsuite: one\nassertions:\n  - id: replayed\n    measure: attack_success_rate\n"
            f"    {parameters}\n    at_most: 0.5\n    because: a test\n"
        )
        return read_suite(path)

    return parsed


@pytest.fixture
def kept(tmp_path):
    """The traces of the file, without their times."""

    def read_back(name="traces.jsonl"):
        found = read(tmp_path / name)
        return [replace(one, steps=tuple(replace(step, seconds=0.0) for step in one.steps)) for one in found]

    return read_back


def failed(found, *words):
    code, out, err = found
    assert code == EXIT_USAGE
    assert out == ""
    assert err.count("\n") == 1
    for one in words:
        assert one in err


@pytest.fixture
def no_model(monkeypatch):
    def load(*arguments, **named):
        raise AssertionError("a model was loaded")

    return lambda: monkeypatch.setattr(attacking, "load", load)


def test_the_first_line_says_what_each_behaviour_gets(attack, monkeypatch):
    out = attack(n=1, steps=1)[1]
    assert "1 behaviours of harmful, 1 step of 4 prompts each, begun with 2 of initial.txt (--initial FILE" in out
    assert " in 1 step, " in out
    out = attack("-o", "other.jsonl", name="gcg", n=1, steps=2)[1]
    assert out.splitlines()[0].endswith("1 behaviours of harmful, 2 steps of 4 candidates each")


def test_fewer_behaviours_than_asked_for_are_no_secret(attack, monkeypatch):
    monkeypatch.setattr(sources, "load", lambda name, data=None, whole=sources.load: whole(name, data=data).first(1))
    assert "1 behaviours of harmful (it has no more; 9 were asked for), 1 step" in attack(n=9, steps=1)[1]


def test_without_initial_prompts_it_says_how_to_give_some(attack, no_model, tmp_path):
    no_model()
    nowhere = ("--data", tmp_path / "nowhere")
    words = ("needs prompts to begin with", "--initial FILE.txt", "[REQUEST]", "--data DIR", "jailbreakbench/")
    (tmp_path / "nowhere").mkdir()
    failed(attack("--initial", "jailbreakbench", *nowhere), *words)
    code, _, err = attack("--initial", "mine.txt", *nowhere)
    assert code == EXIT_USAGE
    assert "mine.txt" in err
    assert "needs prompts to begin with" not in err


@pytest.mark.parametrize("name", ["gcg", "autodan"])
def test_the_traces_are_kept_and_put_to_a_model_again(attack, kept, suite, tmp_path, name):
    code, out, err = attack(name=name)
    assert (code, err) == (0, "")
    harmful = sources.load("harmful").first(2)
    found = kept()
    assert [one.aim.id for one in found] == [one.id for one in harmful.prompts]
    assert [one.aim.target for one in found] == [one.target for one in harmful.prompts]
    assert {(one.attack, one.last.step) for one in found} == {(name, 3)}
    assert all(one.source_model.endswith("model") and len(one.source_sha256) == 64 for one in found)
    made = cases(Attack("fixed", file=str(tmp_path / "traces.jsonl"), method=name), harmful)
    assert [one.text for one in made.cases] == [one.best.text for one in found]
    assert f"[2/2] {found[1].aim.id}: loss {found[1].steps[0].loss:.3f} to {found[1].best.loss:.3f} in 3 steps" in out
    parameters = suite(out.splitlines()[-1].strip()).assertions[0].parameters
    assert parameters["attacks"].file == str(tmp_path / "traces.jsonl")
    assert parameters["n"] == 2


def test_what_is_there_costs_nothing_the_second_time(attack, kept, no_model):
    assert attack()[0] == 0
    before = kept()
    no_model()
    code, out, _ = attack()
    assert code == 0
    assert "2 of them are in traces.jsonl already" in out
    assert kept() == before


def test_more_behaviours_and_more_steps_go_on_from_what_is_there(attack, kept):
    attack(n=1, steps=1, name="gcg")
    attack(n=2, steps=1, name="gcg")
    attack(n=2, steps=3, name="gcg")
    attack("-o", "whole.jsonl", "--together", 1, n=2, steps=3, name="gcg")
    for one, other in zip(kept(), kept("whole.jsonl"), strict=True):
        assert [step.text for step in one.steps] == [step.text for step in other.steps]
        assert len({step.text for step in one.steps}) > 1
        assert dict(one.settings)["steps"] == 3


def test_fewer_behaviours_leave_the_others_in_the_file(attack, kept):
    attack(n=2)
    both = kept()
    attack(n=1, steps=4)
    assert [one.last.step for one in kept()] == [4, 3]
    assert kept()[1].steps == both[1].steps


@pytest.mark.parametrize("name", ["gcg", "autodan"])
def test_a_run_that_is_stopped_keeps_what_it_has_and_goes_on_from_there(attack, kept, monkeypatch, name):
    attack("-o", "whole.jsonl", "--together", 2, name=name)
    module = {"gcg": gcg, "autodan": autodan}[name]
    real = module.attack

    def interrupted(loaded, aims, settings, *rest, progress: Progress, **named):
        def told(number, traces):
            progress(number, traces)
            if number == 2:
                raise KeyboardInterrupt

        return real(loaded, aims, settings, *rest, progress=told, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, "attack", interrupted)
        code, out, err = attack("--together", 2, name=name)
    assert (code, err) == (130, "geoaudit: interrupted\n")
    assert "2 of 2 behaviours are in traces.jsonl; the same command goes on from there" in out
    assert [one.last.step for one in kept()] == [2, 2]

    def gone_on_with(*given, resume, **named):
        assert [one.last.step for one in resume.values()] == [2, 2]
        return real(*given, resume=resume, **named)

    monkeypatch.setattr(module, "attack", gone_on_with)
    assert attack("--together", 2, name=name)[0] == 0
    for one, other in zip(kept(), kept("whole.jsonl"), strict=True):
        assert [step.text for step in one.steps] == [step.text for step in other.steps]


def test_a_place_that_cannot_be_written_to_is_found_before_the_model_is_loaded(attack, no_model, tmp_path):
    no_model()
    (tmp_path / "file").write_text("")
    code, _, err = attack("-o", "file/traces.jsonl")
    assert code == EXIT_USAGE
    assert "cannot write to file" in err
    assert "-o" in err


def test_an_interrupted_batch_leaves_finished_ones_and_those_behind_it(attack, kept, monkeypatch):
    real = autodan.attack
    calls = []

    def second_fails(*given, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(autodan, "attack", second_fails)
    assert attack(n=3)[0] == 130
    assert [one.last.step for one in kept()] == [3]
    assert attack(n=3)[0] == 0
    assert len(calls) == 4
    assert len(kept()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--width", 5), "population 4, and 5 is asked for now"),
        (("--seed", 1), "seed 0, and 1"),
        (("--system", "Be terse."), "another chat format"),
        (("--dtype", "bfloat16"), "another model than is asked for now"),
        (("--initial", "other.txt"), "initial"),
    ],
)
def test_a_file_holds_one_attack(attack, kept, tmp_path, no_model, arguments, words):
    (tmp_path / "other.txt").write_text("Tell me. [REQUEST]")
    attack()
    before = kept()
    no_model()
    failed(attack(*arguments), "traces.jsonl holds traces of another attack", words, "--fresh")
    assert kept() == before


def test_fresh_replaces_what_is_there(attack, kept):
    attack()
    assert attack("--seed", 1, "--fresh", n=1)[0] == 0
    assert [dict(one.settings)["seed"] for one in kept()] == [1]


@pytest.mark.parametrize(
    ("name", "preset", "wanted"),
    [
        ("gcg", "harmbench", {"positions": "even", "monotone": False, "width": 4, "seed": 0}),
        ("gcg", "nanogcg", {"positions": "random", "initial": " ".join("x" * 20), "seed": 0}),
        ("autodan", "harmbench", {"mutation": 0.01, "patience": 10, "population": 4}),
        ("autodan", "original", {"levels": "hga", "seed": 20}),
    ],
)
def test_a_preset_is_what_is_not_said_otherwise(attack, kept, name, preset, wanted):
    assert attack("--preset", preset, "--early-stop", name=name, n=1, steps=1)[0] == 0
    settings = dict(kept()[0].settings)
    assert {key: settings[key] for key in wanted} == wanted
    assert (settings["steps"], settings["early_stop"]) == (1, True)


def test_a_system_prompt_and_a_template_may_be_in_a_file(attack, kept, tmp_path):
    (tmp_path / "system.txt").write_text("Be terse.")
    attack("--system", "Be terse.", n=1, steps=1)
    assert "1 of them are in" in attack("--system", "system.txt", n=1, steps=1)[1]
    assert "no place for a system prompt" in attack("--system", "Be terse.", "--template", "none", "--fresh")[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "traces.json"), "ends in .jsonl"),
        (("-n", 0), "-n must be at least 1, got 0"),
        (("--together", 0), "--together must be at least 1"),
        (("--steps", -1), "steps"),
        (("--source", "harmfull"), "did you mean 'harmful'"),
        (("--source", "harmbench"), "geoaudit data fetch harmbench"),
        (("--source", "tune-harmful"), "targets of tune-harmful are refusals"),
        (("--preset", "nanogcg"), "unknown preset of autodan 'nanogcg'"),
        (("--initial", "jailbreakbench"), "data folder"),
        (("--initial", "nothing.txt"), "no such file"),
        (("--model", "nothing"), "nothing"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_what_cannot_be_right_is_said_before_a_model_is_loaded(attack, no_model, arguments, words):
    no_model()
    failed(attack(*arguments), words)


def test_a_file_that_is_no_trace_is_not_overwritten(attack, tmp_path, no_model):
    (tmp_path / "traces.jsonl").write_text('{"mine": 1}\n')
    no_model()
    failed(attack(), "traces.jsonl:1: no key 'prompt'")
    assert (tmp_path / "traces.jsonl").read_text() == '{"mine": 1}\n'


def test_progress_says_how_long_the_rest_takes_at_most(attack, monkeypatch):
    monkeypatch.setattr(attacking, "_EVERY", 0.0)
    out = attack()[1]
    assert out.count("left") == 8
    assert re.search(r"\n  harmful/\d+: step 1 of 3, loss \d+\.\d{3}, at most \d+ s left\n", out)
    assert "  2 behaviours: step 3 of 3, loss" in attack("--together", 2, "--fresh")[1]
