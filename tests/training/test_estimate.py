"""A dry run says what the run costs, and leaves nothing behind but the answers that it made."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback

from geoaudit.errors import RequestError
from geoaudit.training import estimate, recipe
from geoaudit.training.progress import lasting
from geoaudit.training.rows import Example, Rows
from geoaudit.training.trainer import Training
from tests.training import tiny
from tests.training.r2d2_tiny import training


@pytest.fixture
def dry(tmp_path):
    def dry(**changes):
        given = recipe.read(tiny.write(tmp_path, **changes))
        return estimate.dry_run(given, store=tmp_path / "store", device="cpu")

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
    assert found.timed == estimate.TIMED + 1  # to the end of a step of two
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
        micro_steps=4,
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
    for part in (
        "100 of 8 sequences",
        "5,000",
        "900,000",
        "1.9 GB",
        checkpoints,
        "about 4 min",
        "2.00 s (4 micro-steps, timed on 8)",
    ):
        assert part in text


def test_a_run_shorter_than_what_would_be_timed(dry):
    found = dry(steps=1)
    assert found.timed == 1
    assert found.step > 0


def test_padding_costs_too():
    rows = Rows([Example((1,) * n, (True,) * n) for n in (3, 5, 7, 2)], [0, 1, 2, 3], 4)
    assert estimate._padded(rows, 0, 2) == 2 * 5
    assert estimate._padded(rows, 2, 2) == 2 * 7
    assert estimate._padded(rows, 0, 4) == 4 * 7


def test_longer_micro_steps_take_longer():
    assert estimate._mean([9.0, 1.0, 3.0], [100, 100, 300, 500, 300]) == pytest.approx(2.6)


def test_one_slow_micro_step_changes_little():
    assert estimate._mean([9.0, 1.0, 1.1, 1.0, 30.0], None) == pytest.approx(1.05)


def test_the_first_counts_only_where_there_is_no_other():
    assert estimate._mean([9.0], None) == 9.0
    assert estimate._mean([9.0], [100, 200]) == pytest.approx(13.5)
    assert estimate._mean([], None) == 0


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """A micro-step takes 3 s, the first one 8; an optimiser step 0.5; loading the libraries took 6."""
    found = Clock()
    monkeypatch.setattr(estimate, "time", found)
    micro, ends = Training.training_step, TrainerCallback.on_optimizer_step

    def slow(self, *arguments):
        found.now += 3.0 if found.made else 8.0
        found.made += 1
        return micro(self, *arguments)

    def stepped(self, *arguments, **more):
        if type(self).__name__ == "_Timer":
            found.now += 0.5
        return ends(self, *arguments, **more)

    found.made = 0
    monkeypatch.setattr(Training, "training_step", slow)
    monkeypatch.setattr(estimate._Timer, "on_optimizer_step", stepped, raising=False)
    return found


@pytest.mark.parametrize(("micro", "accumulated"), [(4, 1), (2, 2), (1, 4)])
def test_a_step_is_its_micro_steps_and_the_optimiser(tmp_path, clock, micro, accumulated):
    """Twelve steps of 1, 2 or 4 micro-steps; of four, two are made."""
    given = recipe.read(tiny.write(tmp_path, steps=12, batch=4, micro_batch=micro, packing=True, max_length=16))
    found = estimate.dry_run(given, store=tmp_path / "store", device="cpu", started=clock.now - 6)
    assert found.micro_steps == accumulated
    assert found.step == pytest.approx(3 * accumulated + 0.5)
    assert found.loading == pytest.approx(6 + (8 - 3 - 0.5 / accumulated))
    assert found.seconds == pytest.approx(found.loading + 12 * found.step)
    assert clock.made <= 9, "a few"


def test_it_ends_within_its_limit(tmp_path, clock, monkeypatch):
    """And a micro-step that is timed by then is worth more than none."""
    monkeypatch.setattr(estimate, "LIMIT", 12.0)
    given = recipe.read(tiny.write(tmp_path, steps=3, batch=64, micro_batch=1, packing=True, max_length=16))
    lines = []
    found = estimate.dry_run(given, progress=lines.append, store=tmp_path / "store", device="cpu")
    assert clock.made == 3, "the third is broken off"
    assert (found.timed, found.step) == (1, 64 * 3.0)
    assert "timing a few micro-steps of 64 a step, 12 s at most" in lines
    assert "micro-step 1: 8.0 s" in lines


def test_without_one_micro_step_it_is_a_bound_and_says_so(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(estimate, "LIMIT", 5.0)
    given = recipe.read(tiny.write(tmp_path, steps=3, batch=64, micro_batch=1, packing=True, max_length=16))
    lines = []
    found = estimate.dry_run(given, progress=lines.append, store=tmp_path / "store", device="cpu")
    assert (found.timed, found.step) == (0, 64 * 5.0)
    assert "timing stopped after 5 s" in lines
    text = "\n".join(found.lines())
    assert "more than 16 min" in text
    assert "none ended within 5 s" in text


def test_an_attack_is_broken_off_too(tmp_path, monkeypatch):
    """Where a micro-step is mostly the attack, the limit holds within it."""
    clock = Clock()
    monkeypatch.setattr(estimate, "time", clock)
    timer = estimate._Timer(1, lambda line: None)
    one = training(tmp_path)
    one.current_gradient_accumulation_steps = 1
    timer.on_train_begin(None, None, None)
    timer.on_step_begin(None, None, None)
    clock.now += estimate.LIMIT + 1
    before = [case.suffix for case in one.pool.cases]
    with timer.on(one):
        one.attacked_rows()
        raise AssertionError("it went on")
    assert [case.suffix for case in one.pool.cases] == before
    assert not one.model.model._forward_pre_hooks


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
