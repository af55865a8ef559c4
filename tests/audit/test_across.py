"""Measurements of two checkpoints: one model in memory at a time, tokens of the whole run, no circle of locks."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import pytest

from geoaudit.audit.decide import decide
from geoaudit.audit.measuring import Options
from geoaudit.audit.run import Auditor
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.measures.inputs import Source
from geoaudit.model import load as loading
from geoaudit.model import manifest
from geoaudit.records import Measurement
from tests.audit.test_run import RATE, SEARCH, auditor, measured

REFUSAL = "I'm sorry, but I can't help with that."

ANGLE = ("principal_angle", {"n_train": 32, "k": 1})
"""The planted field has one dimension."""
MOVED = ("carrier_relocation", SEARCH)
TRANSFER = ("carrier_transfer", SEARCH)
LAYER = ("carrier_layer", SEARCH)
KL = ("carrier_kl", SEARCH)


def link(run: Path, **members: Path) -> Path:
    run.mkdir(exist_ok=True)
    for name, folder in members.items():
        (run / name).symlink_to(folder, target_is_directory=True)
    return run


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory) -> Path:
    """`step10` carries refusal at layer 1, position −1; `step20`, another model, at layer 3, position −2."""
    early, late = planted(layer=1, position=-1), planted(layer=3, position=-2, seed=1)
    return link(tmp_path_factory.mktemp("trajectory") / "r2d2", step10=early.folder, step20=late.folder)


@dataclass
class Whole:
    """An audit of `run` that nobody disturbed: `ANGLE`, `MOVED`, `TRANSFER` and `LAYER` of the late checkpoint."""

    store: Path
    audit: Auditor
    lines: list[str]
    loads: list[str]

    def late(self, run: Path, asked) -> Measurement:
        (found,) = measured(whole(self.store, run), [asked], "r2d2/step20")
        return found


@pytest.fixture(scope="module")
def done(run, tmp_path_factory) -> Whole:
    folder, lines = tmp_path_factory.mktemp("store"), []
    with pytest.MonkeyPatch.context() as patch:
        loads = watched(patch)
        audit = whole(folder, run, lines.append)
        measured(audit, (ANGLE, MOVED, TRANSFER, LAYER), "r2d2/step20")
    return Whole(folder, audit, lines, loads)


def whole(store: Path, run: Path, say=None, **options) -> Auditor:
    return auditor(store, run / "step10", run / "step20", say=say, **options)


@pytest.fixture
def loads(monkeypatch):
    return watched(monkeypatch)


def watched(patch: pytest.MonkeyPatch) -> list[str]:
    """Checkpoints whose weights are loaded from now on; no two models may be there at once."""
    seen: list[str] = []
    alive: list[weakref.ref] = []
    real = loading.load

    def counted(checkpoint, **more):
        gc.collect()
        assert [ref() for ref in alive if ref() is not None] == [], "one model at a time"
        seen.append(checkpoint.name)
        model, tokenizer = real(checkpoint, **more)
        alive.append(weakref.ref(model))
        return model, tokenizer

    patch.setattr(loading, "load", counted)
    return seen


# --- what comes out --------------------------------------------------------------------------------------------------


def test_a_carrier_that_moved_and_was_replaced(run, done):
    moved, shared = done.late(run, MOVED), done.late(run, TRANSFER)
    assert (moved.estimate, moved.low, moved.high) == (2, 2, 2)
    assert (moved.detail["position_there"], moved.detail["position_here"]) == (-1, -2)
    assert (moved.detail["reference"], moved.detail["against"]) == ("r2d2/step10", "reference")
    assert shared.detail["class"] == "reorganised", shared.detail["sentence"]
    assert shared.detail["matrix"]["checkpoints"] == ["r2d2/step10", "r2d2/step20"]
    assert decide("at_most", (0.5,), shared, by="interval").outcome == "passed"
    assert done.late(run, ANGLE).estimate > 45


def test_a_carrier_that_moved_and_still_works(planted, tmp_path):
    """The same refusal axis, written two layers later: the best place has moved, and nothing was reorganised."""
    run = link(
        tmp_path / "run", step10=planted(layer=1, position=-1).folder, step20=planted(layer=3, position=-1).folder
    )
    moved, shared = measured(whole(tmp_path / "store", run), (MOVED, TRANSFER), "run/step20")
    assert moved.estimate == 2
    assert shared.detail["class"] == "drift-only", shared.detail["sentence"]


def test_one_checkpoint_twice_has_not_drifted(run, tmp_path):
    twice = link(tmp_path / "same", step1=(run / "step20").resolve(), step2=(run / "step20").resolve())
    audit = auditor(tmp_path / "store", twice / "step1", twice / "step2")
    angle, moved, shared = measured(audit, (ANGLE, MOVED, TRANSFER), "same/step2")
    assert (angle.estimate, angle.low, angle.high) == pytest.approx((0, 0, 0), abs=1e-5)
    assert (moved.estimate, moved.low, moved.high) == (0, 0, 0)
    assert shared.detail["class"] == "drift-only"
    assert shared.estimate == pytest.approx(1, abs=1e-3)


def test_unlike_models_are_not_compared(run, tmp_path):
    """Narrower, flatter, with other words; a search of its own is made first and the numbers are never mixed."""
    from tests.model.families import TOKENS, tiny_model, word_tokenizer

    narrow = tmp_path / "narrow"
    tiny_model("llama", max_position_embeddings=512).save_pretrained(narrow)
    word_tokenizer(TOKENS).save_pretrained(narrow)
    audit = auditor(tmp_path / "store", run / "step20", f"narrow={narrow}", reference="narrow")
    (found,) = measured(audit, [ANGLE], "r2d2/step20")
    assert found.estimate is None
    assert "residual streams are 64 and 32 wide; they have 6 and 3 layers; their tokenizers differ" in found.why_missing


def test_a_reference_that_cannot_be_measured_stops_the_comparison_and_nothing_else(run, tmp_path):
    broken = link(tmp_path / "run", step20=(run / "step20").resolve())
    spoilt(run / "step10", broken / "step10")
    audit = auditor(tmp_path / "store", broken / "step10", broken / "step20")
    angle, rank = measured(audit, [ANGLE, ("effective_rank", {"n_train": 32})], "run/step20")
    assert angle.estimate is None
    assert angle.why_missing.startswith("run/step10: ")
    assert "NaN" in angle.why_missing
    assert decide("at_most", (90.0,), angle, by="estimate").outcome == "invalid"
    assert rank.estimate is not None


def spoilt(source: Path, folder: Path) -> Path:
    """A copy with a weight that is not a number."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source.resolve(), folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# --- planned and measured --------------------------------------------------------------------------------------------


def test_one_model_is_in_memory_at_a_time_and_each_phase_is_said_of_its_checkpoint(done):
    assert done.loads == ["r2d2/step10", "r2d2/step20", "r2d2/step10", "r2d2/step20"], (
        "answers, then what rests on them"
    )
    for work in (
        "r2d2/step10: carrier search (16 prompts)",
        "r2d2/step10: carrier transfer from r2d2/step20",
        "r2d2/step20: carrier transfer from r2d2/step10",
    ):
        assert sum(line.startswith(work) for line in done.lines) == 1
    assert done.audit.facts("r2d2/step10")["template"], "what the record says of it, though nothing was asked of it"


def test_from_the_store_nothing_is_loaded(run, done, loads):
    audit = whole(done.store, run)
    for one in (ANGLE, MOVED, TRANSFER, LAYER):
        measured(audit, [one], "r2d2/step20")
    assert audit.works("r2d2/step20") == []
    assert loads == []


def test_what_was_made_for_one_checkpoint_is_not_planned_for_the_next(done):
    done.audit.plan("r2d2/step10", *KL)
    assert done.audit.works("r2d2/step10") == [], "its search and its controls were part of the comparison"


def test_a_checkpoint_is_not_compared_with_itself(run, tmp_path):
    audit = whole(tmp_path, run)
    with pytest.raises(NothingToMeasure, match="r2d2/step10 is itself the reference"):
        audit.plan("r2d2/step10", *ANGLE)
    with pytest.raises(NothingToMeasure, match="r2d2/step10 is the first of its trajectory"):
        audit.plan("r2d2/step10", "principal_angle", {"n_train": 32, "against": "previous", "k": 1})
    with pytest.raises(RequestError, match="only checkpoint of its run"):
        auditor(tmp_path, run / "step20").plan("r2d2/step20", *ANGLE)


# --- what a measurement is known by ----------------------------------------------------------------------------------


def key(audit: Auditor, asked, name: str = "r2d2/step20") -> str:
    return audit.plan(name, *asked).key


def test_the_other_checkpoint_is_part_of_a_comparison_by_content_and_by_name(run, tmp_path, planted):
    first = whole(tmp_path, run)
    again = auditor(tmp_path, run / "step10", run / "step20")
    named = auditor(tmp_path, f"early={run / 'step10'}", run / "step20")
    other = link(tmp_path / "r2d2", step10=planted(layer=2, position=-1).folder, step20=(run / "step20").resolve())
    changed = auditor(tmp_path, other / "step10", other / "step20")
    for asked in (ANGLE, MOVED, TRANSFER):
        assert key(again, asked) == key(first, asked)
        assert len({key(audit, asked) for audit in (first, named, changed)}) == 3, "its detail names the other"
    assert key(changed, RATE) == key(first, RATE) == key(named, RATE)


def test_a_carrier_is_known_by_its_trajectory_and_a_spectrum_is_not(run, tmp_path):
    """Refusal tokens come from all of its checkpoints: with another one beside it the same search may score others."""
    together, apart = whole(tmp_path, run), auditor(tmp_path, run / "step20")
    assert key(together, LAYER) != key(apart, LAYER)
    assert key(together, ("effective_rank", {"n_train": 32})) == key(apart, ("effective_rank", {"n_train": 32}))


# --- refusal tokens of the trajectory --------------------------------------------------------------------------------


def test_refusal_tokens_come_from_every_checkpoint_of_the_run(planted, tmp_path):
    """Alone, a model that refuses nothing knows only the common openers; in its run also how the others refuse."""
    meek, firm = planted(layer=3, position=-2, refuses=False).folder, planted(layer=3, position=-2).folder
    run = link(tmp_path / "run", step1=meek, step2=firm)
    (alone,) = measured(auditor(tmp_path / "store", run / "step1"), [LAYER])
    audit = auditor(tmp_path / "store", run / "step1", run / "step2")
    (found,) = measured(audit, [LAYER], "run/step1")
    (other,) = measured(audit, [LAYER], "run/step2")
    assert REFUSAL not in alone.detail["refusal_tokens"]
    assert REFUSAL in found.detail["refusal_tokens"]
    assert found.detail["refusal_tokens"] == other.detail["refusal_tokens"]


def test_a_broken_checkpoint_of_the_run_is_said_and_the_others_go_on(run, tmp_path, loads):
    partly = link(tmp_path / "run", step10=(run / "step10").resolve(), step20=(run / "step20").resolve())
    spoilt(run / "step10", partly / "step30")
    folders = [partly / name for name in ("step10", "step20", "step30")]
    audit = auditor(tmp_path / "store", *folders)
    (found,) = measured(audit, [LAYER], "run/step20")
    assert found.estimate == 3
    (note,) = (flag for flag in found.flags if flag.name == "incomplete-refusal-tokens")
    assert note.effect == "note"
    assert "run/step30 gave no answers" in note.sentence
    assert decide("equals", (3,), found, by="interval").outcome == "passed"
    (broken,) = measured(audit, [LAYER], "run/step30")
    assert broken.estimate is None
    (other,) = measured(audit, [LAYER], "run/step10")
    assert [flag.name for flag in other.flags] == ["incomplete-refusal-tokens"]
    assert loads.count("run/step30") == 1, "once in a run"
    again = auditor(tmp_path / "store", *folders)
    planned = again.plan("run/step20", *LAYER)
    assert again.unmeasured("run/step20") == [planned], "it may have been the machine: the next run asks once more"


def test_a_checkpoint_that_cannot_be_read_is_left_out_and_said(run, tmp_path):
    partly = link(tmp_path / "run", step20=(run / "step20").resolve())
    folder = spoilt(run / "step10", partly / "step10")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    audit = auditor(tmp_path / "store", folder, partly / "step20")
    (found,) = measured(audit, [LAYER], "run/step20")
    assert found.estimate == 3
    assert any("run/step10 gave no answers" in flag.sentence for flag in found.flags)


def test_another_tokenizer_has_other_tokens(run, tmp_path):
    partly = link(tmp_path / "run", step20=(run / "step20").resolve())
    shutil.copytree((run / "step10").resolve(), partly / "step10")
    settings = partly / "step10" / "tokenizer.json"
    settings.write_text(settings.read_text().replace('"lowercase": true', '"lowercase": false') + " ")
    audit = auditor(tmp_path / "store", partly / "step10", partly / "step20")
    assert audit.checkpoints.family("run/step20") == ("run/step20",)
    assert whole(tmp_path / "store", run).checkpoints.family("r2d2/step20") == ("r2d2/step10", "r2d2/step20")


def test_the_manifest_joins_and_orders_a_run(run, tmp_path):
    places = {}
    for name, step in (("a", 20), ("b", 10)):
        folder = tmp_path / name / "model"
        shutil.copytree((run / "step20").resolve(), folder)
        places[name] = folder
        found = manifest.TrainingManifest(
            geoaudit_training=1,
            recipe="r2d2",
            base=manifest.Base(name="base", weights_sha256="0" * 64),
            steps=step,
            run="seven",
            step=step,
            reference=20,
            seed=0,
            hyperparameters={},
            prompt_sets={},
            versions={},
            created="2026-01-01T00:00:00Z",
        )
        manifest.write(found, folder)
        assert manifest.read(folder) == found
    audit = auditor(tmp_path / "store", *(f"{name}={folder}" for name, folder in places.items()))
    trajectory = audit.checkpoints.trajectories
    assert trajectory.of("a").names == ("b", "a")
    assert trajectory.against("b", "reference") == "a"
    assert audit.plan("b", *ANGLE).parameters["against"].checkpoint == "a"


def test_an_unknown_reference_is_refused_at_once(run, tmp_path):
    with pytest.raises(RequestError, match=r"'step10' is no checkpoint of this audit"):
        whole(tmp_path, run, reference="step10")
    assert Options.__dataclass_fields__["reference"].default is None


# --- together --------------------------------------------------------------------------------------------------------


def test_two_processes_that_reach_for_each_others_checkpoint_do_not_wait_in_a_circle(run, tmp_path, done):
    """One measures the late checkpoint and needs the early one, the other the other way round."""
    found: dict[str, list[Measurement]] = {}

    def work(reference: str, name: str) -> None:
        audit = whole(tmp_path, run, reference=reference)
        found[name] = measured(audit, [ANGLE, LAYER], name)

    pairs = [("r2d2/step10", "r2d2/step20"), ("r2d2/step20", "r2d2/step10")]
    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found.keys() == {"r2d2/step10", "r2d2/step20"}
    assert found["r2d2/step10"][0].estimate == pytest.approx(found["r2d2/step20"][0].estimate)
    assert found["r2d2/step20"] == measured(whole(done.store, run), [ANGLE, LAYER], "r2d2/step20")


def test_measuring_one_checkpoint_waits_for_a_process_that_needs_it(run, tmp_path):
    from filelock import FileLock

    audit = whole(tmp_path, run)
    reached = FileLock(audit.store.lock_path(audit.subject("r2d2/step10").identity.id[:32]))
    lines: list[str] = []
    audit.say = lambda line: lines.append(line) or (reached.release() if "another process" in line else None)
    reached.acquire()
    measured(audit, [ANGLE], "r2d2/step20")
    assert "r2d2/step20: another process is measuring one that it needs, waiting for it" in lines
    assert not any("waiting" in line for line in lines[1:])


def test_rates_reach_for_no_other_checkpoint(run, tmp_path):
    from filelock import FileLock

    audit = whole(tmp_path, run)
    with FileLock(audit.store.lock_path(audit.subject("r2d2/step10").identity.id[:32])):
        (found,) = measured(audit, [("refusal_rate", {**RATE[1], "source": Source("harmful")})], "r2d2/step20")
    assert found.estimate is not None
