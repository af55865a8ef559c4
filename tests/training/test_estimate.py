"""A dry run says what the run costs, and leaves nothing behind but the answers that it made."""

from __future__ import annotations

import pytest

from geoaudit.errors import RequestError
from geoaudit.training import estimate, recipe, run
from geoaudit.training.progress import lasting
from geoaudit.training.rows import Example, Rows
from tests.training import tiny


@pytest.fixture
def dry(tmp_path):
    def dry(**changes):
        given = recipe.read(tiny.write(tmp_path, **changes))
        return run.dry_run(given, store=tmp_path / "store", device="cpu")

    return dry


def test_what_can_be_counted_is_what_the_run_has(tmp_path, dry):
    changes = {"steps": 20, "checkpoints": [0, 5], "resume_every": 6}
    found = dry(**changes)
    assert found.states == 4  # behind 5, 6, 12 and 18
    *_, last = tiny.train(tmp_path, tmp_path / "out", **changes)
    from geoaudit.model import manifest

    assert found.steps == 20
    assert found.sequences == 80
    assert found.tokens == manifest.read(last).tokens
    assert 0 < found.learnt < found.tokens
    assert found.checkpoints == 3
    assert found.parameters == found.trained == sum(one.numel() for one in tiny.weights(last).values())
    size = sum(path.stat().st_size for path in last.rglob("*"))
    assert abs(found.checkpoint_bytes - size) < 3000  # the loss curves are shorter
    assert found.timed == estimate.TIMED
    assert not found.answers
    assert found.peak_bytes > 50e6


def test_an_adapter_trains_few_weights(dry):
    found = dry(adapter={"rank": 1, "modules": ["q_proj"]})
    assert found.trained < found.parameters / 20


def test_nothing_is_left_behind(tmp_path, dry):
    before = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    dry()
    after = {path for path in tmp_path.rglob("*") if "store" not in path.parts}
    assert {path.name for path in after - before} <= {"tiny.yaml", "chats.jsonl", "bad.jsonl"} | {
        path.name for path in after if "base" in path.parts
    } | {"base"}


def test_the_whole_is_the_sum_of_its_parts():
    found = estimate.Estimate(
        steps=100,
        sequences=800,
        tokens=5000,
        learnt=2000,
        parameters=135_000_000,
        trained=900_000,
        loading=10.0,
        answers=50.0,
        step=2.0,
        timed=8,
        probes=5.0,
        checkpoints=3,
        checkpoint=1.0,
        states=4,
        state=0.5,
        checkpoint_bytes=2_000_000,
        resume_bytes=11_000_000,
        peak_bytes=1_900_000_000,
    )
    assert found.seconds == 10 + 50 + 200 + 5 + 3 + 2
    text = "\n".join(found.lines())
    checkpoints = "3 checkpoints of 2.0 MB"
    for part in ("100 of 8 sequences", "5,000", "900,000", "1.9 GB", checkpoints, "about 4 min", "2.00 s"):
        assert part in text


def test_a_run_shorter_than_what_would_be_timed(dry):
    found = dry(steps=1)
    assert found.timed == 1
    assert found.step > 0


def test_padding_costs_too():
    rows = Rows([Example((1,) * n, (True,) * n) for n in (3, 5, 7, 2)], [0, 1, 2, 3], 4)
    assert estimate._padded(rows, 0, 2) == 2 * 5 + 2 * 7
    assert estimate._padded(rows, 0, 4) == 4 * 7


def test_longer_steps_take_longer():
    assert estimate._mean_step([1.0, 3.0], [100, 300], [100, 300, 500, 300]) == pytest.approx(3.0)


def test_the_mean_step_is_one_of_the_timed(dry, monkeypatch):
    seen = []
    monkeypatch.setattr(estimate, "_mean_step", lambda seconds, *rest: seen.append(list(seconds)) or 7.0)
    found = dry(steps=12)
    assert found.step == 7.0
    assert len(seen[0]) == found.timed == estimate.TIMED


def test_it_is_for_one_process(dry, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RequestError, match="in one process"):
        dry()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89.4, "89 s"), (150, "2 min 30 s"), (599.9, "9 min 59 s"), (1500, "25 min"), (9000, "2.5 h")],
)
def test_times_as_a_person_says_them(seconds, said):
    assert lasting(seconds) == said
