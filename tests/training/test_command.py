"""`geoaudit train` does what its recipe says, and says in one line what cannot be."""

from __future__ import annotations

import pytest

from geoaudit import cli
from geoaudit.errors import RecipeError
from geoaudit.training import recipe, run
from tests.training import tiny


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs `geoaudit train` in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, **changes):
        path = tiny.write(tmp_path, **changes)
        how = ("--device", "cpu", "--store", tmp_path / "store")
        code = cli.main(["train", *(str(one) for one in (*arguments[:1], path, *arguments[1:], *how))])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_it_trains_into_the_folder_of_the_recipes_name(tmp_path, command):
    code, out, err = command("sft", checkpoints=[2])
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == ["runs/tiny/step2", "runs/tiny/step6"]
    assert (tmp_path / "runs" / "tiny" / "step6" / "model.safetensors").is_file()
    code, out, _ = command("sft", checkpoints=[2])
    assert code == 0
    assert "nothing to do (--fresh trains it again)" in out


def test_fresh_trains_it_again(tmp_path, command):
    command("sft", "--out", tmp_path / "out")
    before = (tmp_path / "out" / "step6" / "geoaudit-training.json").read_text()
    (tmp_path / "out" / "mine").mkdir()
    code, out, _ = command("sft", "--out", tmp_path / "out", "--fresh", steps=5)
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "out" / "step5")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".resume", "mine", "step5"]
    assert before != (tmp_path / "out" / "step5" / "geoaudit-training.json").read_text()


def test_a_dry_run_says_what_it_costs_and_writes_nothing(tmp_path, command):
    code, out, err = command("sft", "--dry-run")
    assert (code, err) == (0, "")
    said = [line.split()[0] for line in out.splitlines()[-6:]]
    assert said == ["steps", "tokens", "weights", "memory", "disk", "time"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("safety-sft", {}, "is a recipe for sft: run `geoaudit train sft"),
        ("sft", {"steps": 0}, "tiny.yaml:"),
        ("sft", {"base": "no-such-model"}, "no-such-model"),
        ("sft", {"data": [{"file": "none.jsonl"}]}, "no such file: "),
        ("sft", {"data": [{"answers": "none.csv"}]}, "none.csv"),
        ("sft", {"data": [{"answers": "none"}]}, "unknown source 'none'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(command, kind, changes, words):
    code, _, err = command(kind, **changes)
    assert code == cli.EXIT_USAGE
    assert err.startswith("geoaudit: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_missing_file_is_named_where_the_recipe_names_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "recipe: safety-sft\nbase: smollm2-135m\nsteps: 2\ndata:\n  - answers: tune-harmless\n"
        "refusals:\n  prompts: gone.txt\n"
    )
    with pytest.raises(RecipeError, match=r"mine\.yaml:7:12: no such file: .*gone\.txt"):
        recipe.read(path)
    (tmp_path / "gone.txt").touch()
    assert recipe.read(path).refusals.prompts == "gone.txt"


def test_a_run_that_ended_before_its_first_step_leaves_the_folder_to_another(command):
    out = ("--out", "out")
    assert command("sft", *out, base="no-such-model")[0] == cli.EXIT_USAGE
    assert command("sft", *out, data=[{"answers": "none"}])[0] == cli.EXIT_USAGE
    code, _, err = command("sft", *out)
    assert (code, err) == (0, "")
    code, _, err = command("sft", *out, steps=5)
    assert code == cli.EXIT_USAGE, "one that has made steps is not taken over"
    assert "holds the run of another recipe" in err


def test_a_file_in_place_of_the_folder_is_said(tmp_path, command):
    (tmp_path / "out").write_text("mine")
    code, _, err = command("sft", "--out", tmp_path / "out")
    assert code == cli.EXIT_USAGE
    assert "out is a file: name a folder" in err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("every", "said"), [(2, "the same command goes on behind step 4"), (0, "nothing was kept before")]
)
def test_ctrl_c_says_what_is_kept(command, monkeypatch, every, said):
    class Interrupt(tiny.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(run, "monitors", lambda *given: [Interrupt()])
    code, _, err = command("sft", "--out", "out", resume_every=every)
    assert (code, err.count("\n")) == (130, 1)
    assert said in err
