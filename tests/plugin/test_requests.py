"""What can be seen to be wrong before anything is loaded: exit code 4, one clear message, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugin.project import REFUSES, XDIST, Project, complaint, output


def copy(project: Project, name: str) -> Path:
    """A copy of the refusing checkpoint to be broken."""
    return Path(shutil.copytree(project.path / "ckpt" / "step100", project.path / name))


def no_template(project: Project) -> None:
    (copy(project, "broken") / "chat_template.jinja").unlink()


def no_tokenizer(project: Project) -> None:
    (copy(project, "broken") / "tokenizer.json").unlink()


def pickled(project: Project) -> None:
    folder = copy(project, "broken")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unknown_type(project: Project) -> None:
    config = copy(project, "broken") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "lama"}))


def adapter_without_base(project: Project) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "nowhere/base", "task_type": "CAUSAL_LM"}
    project.write("broken/adapter_config.json", json.dumps(settings))
    project.write("broken/adapter_model.safetensors", "")


def empty(project: Project) -> None:
    (project.path / "broken").mkdir()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_template, ("broken", "no chat template", "--geoaudit-template FILE|zephyr|chatml|none")),
        (no_tokenizer, ("broken has no tokenizer", "save_pretrained")),
        (pickled, ("only pytorch_model.bin", "unpickled", "save_pretrained('converted')")),
        (unknown_type, ("'lama'", "did you mean 'llama'?")),
        (adapter_without_base, ("the base of the adapter", "'nowhere/base'", "--geoaudit-base=PATH")),
        (empty, ("broken has no config.json",)),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_checkpoint_that_cannot_be_audited(
    project: Project, make: Callable[[Project], None], words: tuple[str, ...]
) -> None:
    make(project)
    project.suite(REFUSES)
    message = complaint(project.run(model="broken"))
    for word in words:
        assert word in message


@XDIST
def test_wrong_path_names_the_nearest(project: Project, args: tuple[str, ...]) -> None:
    project.suite(REFUSES)
    result = project.run_apart(*args, model="ckpt/step10")
    assert "'ckpt/step10'" in complaint(result)
    assert "did you mean 'ckpt/step100'?" in output(result)


def test_equal_names_ask_for_another(project: Project) -> None:
    copy(project, "other/ckpt/step100")
    project.suite(REFUSES)
    message = complaint(project.run(model=("ckpt/step100", "other/ckpt/step100")))
    assert "two checkpoints are called 'ckpt/step100'" in message
    assert "--geoaudit-model=NAME=other/ckpt/step100" in message


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--geoaudit-profile=smok",), ("unknown profile 'smok' (did you mean 'smoke'?)", "release, smoke, standard")),
        (("--geoaudit-dtype=float8",), ("--geoaudit-dtype 'float8'", "float32, bfloat16, float16")),
        (("--geoaudit-device=gpu",), ("unknown device 'gpu'", "cuda")),
        (("--geoaudit-template=zephir",), ("--geoaudit-template 'zephir'", "zephyr, chatml, none")),
        (("--geoaudit-suite=smoek",), ("no suite 'smoek' (did you mean 'smoke'?)",)),
        (("--geoaudit-data=nowhere",), ("nowhere' does not exist", "--geoaudit-data")),
        (("--geoaudit-base=ckpt/step50",), ("--geoaudit-base=ckpt/step50", "none of the checkpoints is an adapter")),
        (("--geoaudit-plan", "-n", "2"), ("--geoaudit-plan", "leave -n out")),
        (("--geoaudit-store=file.txt",), ("the store", "file.txt", "--geoaudit-store")),
        (("--geoaudit-store=file.txt/store",), ("the store", "file.txt/store", "--geoaudit-store")),
        (("--geoaudit-report=file.txt/report.html",), ("file.txt", "--geoaudit-report")),
        (("--geoaudit-report=ckpt",), ("ckpt", "is a folder", "--geoaudit-report")),
        (("--geoaudit-report=report.json",), ("report.json", "--geoaudit-report=report.html")),
    ],
    ids=lambda value: value[0].removeprefix("--geoaudit-") if value[0].startswith("--") else "",
)
def test_option_that_cannot_be_right(project: Project, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    project.write("file.txt", "not a folder")
    project.suite(REFUSES)
    message = complaint(project.run(*args))
    for word in words:
        assert word in message


def test_the_same_options_in_the_ini_file(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\ngeoaudit_profile = smok\n")
    project.suite(REFUSES)
    assert "did you mean 'smoke'?" in complaint(project.run())
    result = project.run("--geoaudit-profile=standard")  # the command line wins
    result.assert_outcomes(passed=1)
