"""The folder of a run: one run, from the data that it was begun with, and nothing of another origin is touched."""

from __future__ import annotations

import pytest

from geoaudit.errors import RequestError
from tests.training import tiny
from tests.training.test_resuming import Steps, Stop, StopAt


def test_a_finished_run_is_not_made_again(tmp_path):
    tiny.train(tmp_path, tmp_path / "out", checkpoints=[2])
    seen = Steps()
    found = tiny.train(tmp_path, tmp_path / "out", callbacks=(seen,), checkpoints=[2])
    assert [one.name for one in found] == ["step2", "step6"]
    assert seen.steps == []
    assert not any(path.is_dir() for path in (tmp_path / "out" / ".resume").iterdir())


def test_another_recipe_does_not_go_on_with_the_run(tmp_path):
    tiny.train(tmp_path, tmp_path / "out")
    with pytest.raises(RequestError, match="holds the run of another recipe or base"):
        tiny.train(tmp_path, tmp_path / "out", learning_rate=0.02)


def test_changed_data_is_not_gone_on_with(tmp_path):
    with pytest.raises(Stop):
        tiny.train(tmp_path, tmp_path / "out", callbacks=(StopAt(5),), resume_every=2)
    chats = tmp_path / "chats.jsonl"
    kept = chats.read_text()
    chats.write_text(kept.replace("wash", "dig"))
    with pytest.raises(RequestError, match="the data is not what"):
        tiny.train(tmp_path, tmp_path / "out", resume_every=2)
    chats.write_text(kept)
    assert tiny.train(tmp_path, tmp_path / "out", resume_every=2)


def test_checkpoints_of_another_origin_are_not_touched(tmp_path):
    (tmp_path / "out" / "step3").mkdir(parents=True)
    with pytest.raises(RequestError, match="checkpoints of another origin"):
        tiny.train(tmp_path, tmp_path / "out")
