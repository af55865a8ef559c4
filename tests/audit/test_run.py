"""An audit's measuring: once, through the store, under a lock; killed anywhere it goes on to the same numbers."""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import warnings
from pathlib import Path

import pytest

from geoaudit import judges
from geoaudit.audit import profiles
from geoaudit.audit.checkpoints import facts_key
from geoaudit.audit.decide import decide
from geoaudit.audit.fulfilling import Fulfilling
from geoaudit.audit.measuring import Options, clock, every
from geoaudit.audit.run import Auditor, MeasuringStopped
from geoaudit.audit.store import Store
from geoaudit.errors import BrokenCheckpoint
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures.inputs import Source
from geoaudit.model import load as loading
from geoaudit.model import manifest
from geoaudit.model.checkpoint import resolve_all
from geoaudit.prompts.sources import load
from geoaudit.records import Judgement, Measurement

RATE = ("attack_success_rate", {"source": Source("harmful"), "n": 8, "max_new_tokens": 3, "paraphrases": False})
SEARCH = {"n_train": 32, "n_validation": 8}
LAYER = ("carrier_layer", {**SEARCH, "rule": "arditi"})
EVERY = (RATE, LAYER, ("effective_rank", {"n_train": 32}), ("carrier_kl", {**SEARCH, "rule": "cosmic"}))


def auditor(store: Path, *specs: str | Path, say=None, **options) -> Auditor:
    defaults = {"device": "cpu", "dtype": None, "template": None, "system": None, "judging": JudgeSetup()}
    chosen = Options(profile=profiles.get("standard"), store=store, **{**defaults, **options})
    return Auditor(resolve_all([str(spec) for spec in specs]), chosen, say or (lambda line: None))


def measured(audit: Auditor, asked=EVERY, name: str | None = None) -> list[Measurement]:
    planned = [audit.plan(name or audit.names[0], *one) for one in asked]
    return [audit.measurement(one) for one in planned]


@pytest.fixture(scope="module")
def checkpoint(planted) -> Path:
    return planted(layer=1, position=-1).folder


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory) -> list[Measurement]:
    """What an undisturbed audit measures."""
    return measured(auditor(tmp_path_factory.mktemp("store"), f"ckpt={checkpoint}"))


@pytest.fixture
def loads(monkeypatch):
    """Checkpoints whose weights were loaded."""
    seen = []
    real = loading.load

    def counted(checkpoint, **more):
        seen.append(checkpoint.name)
        return real(checkpoint, **more)

    monkeypatch.setattr(loading, "load", counted)
    return seen


def test_the_planted_truth_comes_out(whole):
    rate, layer, rank, kl = whole
    assert (rate.estimate, rate.n) == (0.0, 8)
    assert (layer.estimate, layer.low, layer.high) == (1, 1, 1)
    assert rank.estimate == pytest.approx(1, abs=0.05)
    assert abs(kl.estimate) < 1e-3
    assert all(one.checkpoint == "ckpt" for one in whole)


def test_everything_planned_is_measured_at_once_and_loaded_once(checkpoint, tmp_path, loads, whole):
    lines: list[str] = []
    audit = auditor(tmp_path, f"ckpt={checkpoint}", say=lines.append)
    planned = [audit.plan("ckpt", *one) for one in EVERY]
    assert len(audit.unmeasured("ckpt")) == 4
    assert audit.measurement(planned[2]) == whole[2]
    assert audit.unmeasured("ckpt") == []
    assert [audit.measurement(one) for one in planned] == whole
    assert loads == ["ckpt"]
    assert "ckpt: 4 measurements to make, about" in lines[0]
    for phase in ("generate", "activations", "carrier search"):
        assert any(line.startswith(f"ckpt: {phase} ") for line in lines)
        assert audit.timings[phase] > 0


def test_planning_the_same_twice_is_one(checkpoint, tmp_path):
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    first = audit.plan("ckpt", "carrier_layer", {"rule": "arditi"})
    assert audit.plan("ckpt", "carrier_layer", {"rule": "arditi", "kl_budget": 0.1}) is first
    assert audit.plan("ckpt", "carrier_layer", {"rule": "cosmic"}) is not first
    assert len(audit.subject("ckpt").planned) == 2


def test_what_is_asked_for_later_is_measured_later(checkpoint, tmp_path, loads, whole):
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    assert measured(audit, [RATE]) == whole[:1]
    assert measured(audit, EVERY) == whole
    assert loads == ["ckpt", "ckpt"]


def test_a_second_run_reads_the_store_and_loads_nothing(checkpoint, tmp_path, loads, whole):
    measured(auditor(tmp_path, f"ckpt={checkpoint}"))
    loads.clear()
    lines: list[str] = []
    audit = auditor(tmp_path, f"ckpt={checkpoint}", say=lines.append)
    assert measured(audit) == whole
    assert audit.works("ckpt") == []
    assert loads == []
    assert lines == []


def test_neither_folder_nor_name_is_part_of_a_measurement(checkpoint, tmp_path, loads, whole):
    measured(auditor(tmp_path / "store", f"ckpt={checkpoint}"))
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "step7")
    loads.clear()
    audit = auditor(tmp_path / "store", checkpoint, copy, f"third={copy}")
    keys = {name: audit.plan(name, *RATE).key for name in audit.names}
    assert len(set(keys.values())) == 1
    assert audit.names[1:] == ["elsewhere/step7", "third"]
    for name in audit.names:
        (found,) = measured(audit, [RATE], name)
        assert found.checkpoint == name
        assert found.estimate == whole[0].estimate
    assert loads == []


@pytest.mark.parametrize(
    "change",
    [{"dtype": "bfloat16"}, {"system": "you bake bread"}, {"template": "chatml"}],
    ids=lambda change: next(iter(change)),
)
def test_options_that_change_a_number_change_its_key(checkpoint, tmp_path, change):
    plain, other = (auditor(tmp_path, f"ckpt={checkpoint}", **options).plan("ckpt", *RATE) for options in ({}, change))
    assert plain.key != other.key


def test_the_device_counts_by_its_kind(checkpoint, tmp_path):
    keys = [
        auditor(tmp_path, f"a={checkpoint}", device=device).plan("a", *RATE).key
        for device in ("cuda:0", "cuda:1", "cpu")
    ]
    assert keys[0] == keys[1] != keys[2]


# --- killed ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def undisturbed(request, planted, tmp_path_factory):
    """A checkpoint, a dtype, what an audit that nobody kills measures, and in how many writes."""
    folder, store = planted(layer=1, position=-1).folder, tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        writes = counted(patch)
        found = measured(auditor(store, f"ckpt={folder}", dtype=request.param))
    assert len(writes) > 15, "of completions, texts, means, scores, controls, facts and measurements"
    return folder, request.param, found, len(writes)


def counted(patch: pytest.MonkeyPatch, most: float = math.inf) -> list[str]:
    """Keys of what is written to stores from now on; the process is killed by the write after so many.

    How fast this machine was is not counted: it is kept where work took a second, which hangs on the machine.
    """
    real, real_pace, keys, paces = Store._put, Fulfilling._pace_key, [], set()

    def pace_key(*args):
        paces.add(key := real_pace(*args))
        return key

    def put(self, key, value):
        if key in paces:
            return real(self, key, value)
        if len(keys) >= most:
            raise Killed
        keys.append(key)
        real(self, key, value)

    patch.setattr(Store, "_put", put)
    patch.setattr(Fulfilling, "_pace_key", staticmethod(pace_key))
    return keys


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 0.7, 0.95])
def test_killed_anywhere_the_next_run_ends_with_the_same_numbers(undisturbed, tmp_path, share):
    folder, dtype, expected, total = undisturbed
    most = int(share * total)
    with pytest.MonkeyPatch.context() as patch:
        before = counted(patch, most)
        with pytest.raises(Killed):
            measured(auditor(tmp_path, f"ckpt={folder}", dtype=dtype))
    with pytest.MonkeyPatch.context() as patch:
        after = counted(patch)
        again = auditor(tmp_path, f"ckpt={folder}", dtype=dtype)
        assert measured(again) == expected, "bit for bit"
    assert len({*before, *after}) == total
    facts = facts_key(again.subject("ckpt"))
    assert {*before} & {*after} <= {facts}, "nothing is made twice"
    assert again.facts("ckpt")["template"]["rendered"]


def test_a_waiting_lock_is_free_after_a_kill(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "_put", lambda *args: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        measured(auditor(tmp_path, f"ckpt={checkpoint}"), [RATE])
    monkeypatch.undo()
    lines: list[str] = []
    measured(auditor(tmp_path, f"ckpt={checkpoint}", say=lines.append), [RATE])
    assert not any("another process" in line for line in lines)


# --- together --------------------------------------------------------------------------------------------------------


def test_two_audits_of_one_checkpoint_measure_it_once(checkpoint, tmp_path, monkeypatch, loads, whole):
    started, go_on = threading.Event(), threading.Event()
    real = loading.load

    def slow(*args, **more):
        started.set()
        assert go_on.wait(20)
        return real(*args, **more)

    monkeypatch.setattr(loading, "load", slow)
    lines: list[str] = []
    found: dict[str, list[Measurement]] = {}

    def say(line: str) -> None:
        lines.append(line)
        if "another process" in line:
            go_on.set()

    def work(name: str) -> None:
        found[name] = measured(auditor(tmp_path, f"{name}={checkpoint}", say=say))

    first = threading.Thread(target=work, args=("first",))
    first.start()
    assert started.wait(20)
    second = threading.Thread(target=work, args=("second",))
    second.start()
    for thread in (first, second):
        thread.join(30)
    assert "second: another process is measuring this checkpoint, waiting for it" in lines
    assert loads == ["first"]
    for name in ("first", "second"):
        assert [one.estimate for one in found[name]] == [one.estimate for one in whole]
        assert {one.checkpoint for one in found[name]} == {name}


# --- what cannot be measured -----------------------------------------------------------------------------------------


def test_a_defect_is_raised_once_and_named_for_every_other_assertion(checkpoint, tmp_path, monkeypatch, whole):
    tries = []

    def broken(*args, **more):
        tries.append(1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(loading, "load", broken)
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    planned = [audit.plan("ckpt", *one) for one in EVERY]
    with pytest.raises(RuntimeError, match="out of memory"):
        audit.measurement(planned[0])
    for one in planned:
        with pytest.raises(MeasuringStopped, match="measuring ckpt stopped before: RuntimeError: out of memory"):
            audit.measurement(one)
    assert tries == [1]
    monkeypatch.undo()
    assert measured(auditor(tmp_path, f"ckpt={checkpoint}")) == whole, "the next run tries again"


def test_a_checkpoint_that_is_broken_is_loaded_once_and_not_remembered(checkpoint, tmp_path, monkeypatch, whole):
    tries = []

    def broken(*args, **more):
        tries.append(1)
        raise BrokenCheckpoint("tensor x has 3 NaN values")

    monkeypatch.setattr(loading, "load", broken)
    found = measured(auditor(tmp_path, f"ckpt={checkpoint}"))
    assert tries == [1]
    for one in found:
        assert one.estimate is None
        assert "3 NaN" in one.why_missing
        for comparator in ("at_most", "at_least"):
            assert decide(comparator, (0.0,), one, by="estimate").outcome == "invalid"
    monkeypatch.undo()
    assert measured(auditor(tmp_path, f"ckpt={checkpoint}")) == whole, "it may have been the machine"


def test_what_follows_from_the_rows_alone_is_remembered(planted, tmp_path, loads):
    folder = planted(layer=3, position=-2, refuses=False).folder
    first = measured(auditor(tmp_path, f"ckpt={folder}"), [LAYER])
    assert first[0].estimate is None
    assert "no candidate induces refusal" in first[0].why_missing
    assert len(first[0].detail["candidates"]) == 12
    loads.clear()
    assert measured(auditor(tmp_path, f"ckpt={folder}"), [LAYER]) == first
    assert loads == []


def test_one_measure_that_cannot_be_had_leaves_the_others(planted, tmp_path):
    folder = planted(layer=3, position=-2, refuses=False).folder
    layer, rate = measured(auditor(tmp_path, f"ckpt={folder}"), [LAYER, RATE])
    assert layer.estimate is None
    assert rate.estimate == 1.0


def test_without_post_instruction_tokens_rates_are_still_measured(checkpoint, tmp_path):
    rate, layer, rank, _ = measured(auditor(tmp_path, f"ckpt={checkpoint}", template="none"))
    assert rate.estimate is not None
    for one in (layer, rank):
        assert one.estimate is None
        assert "--geoaudit-template" in one.why_missing


# --- the training manifest -------------------------------------------------------------------------------------------


def trained(folder: Path, on: str) -> None:
    prompts = load(on).first(3)
    sets = {on: manifest.TrainedOn(sha256=prompts.sha256, n=3, prompts=tuple(p.sha256 for p in prompts.prompts))}
    found = manifest.TrainingManifest(
        geoaudit_training=1,
        recipe="sft",
        base=manifest.Base(name="base", weights_sha256="0" * 64),
        steps=1,
        seed=0,
        hyperparameters={},
        prompt_sets=sets,
        versions={},
        created="2026-01-01T00:00:00Z",
    )
    manifest.write(found, folder)


def test_prompts_of_the_training_manifest_stop_what_is_scored_on_them(checkpoint, tmp_path):
    store = tmp_path / "store"
    clean = auditor(store, f"ckpt={checkpoint}").plan("ckpt", *RATE)
    for on, stops in (("harmful", True), ("tune-harmful", False)):
        folder = shutil.copytree(checkpoint, tmp_path / on)
        trained(folder, on)
        audit = auditor(store, f"ckpt={folder}")
        assert audit.plan("ckpt", *RATE).key != clean.key, "the flag is part of the measurement"
        (found,) = measured(audit, [RATE])
        assert any(flag.name == "train-eval-overlap" for flag in found.flags) is stops
        assert decide("at_most", (0.5,), found, by="estimate").outcome == ("invalid" if stops else "passed")


# --- manners ---------------------------------------------------------------------------------------------------------


def test_warnings_of_other_libraries_go_to_the_record(checkpoint, tmp_path, monkeypatch):
    real = loading.load
    logger = logging.getLogger("transformers.modeling_utils")

    def noisy(*args, **more):
        warnings.warn("an old name is used", FutureWarning, stacklevel=1)
        warnings.warn("an old name is used", FutureWarning, stacklevel=1)
        logger.warning("weights are tied")
        logger.info("this is only chatter")
        return real(*args, **more)

    monkeypatch.setattr(loading, "load", noisy)
    root = logging.getLogger("transformers")
    before = (list(root.handlers), root.propagate, list(warnings.filters))
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    measured(audit, [RATE])  # under -W error
    assert audit.warnings.count("FutureWarning: an old name is used") == 1
    assert audit.warnings.count("transformers.modeling_utils: weights are tied") == 1
    assert not any("chatter" in line for line in audit.warnings)
    assert (list(root.handlers), root.propagate, list(warnings.filters)) == before


def test_an_undisturbed_audit_has_no_warnings(checkpoint, tmp_path):
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    measured(audit)
    assert audit.warnings == []


def test_threads_are_what_was_asked_for(checkpoint, tmp_path):
    import torch

    audit = auditor(tmp_path, f"ckpt={checkpoint}", threads=1)
    measured(audit, [RATE])
    assert torch.get_num_threads() == 1
    assert audit.facts("ckpt")["threads"] == 1


def test_facts_show_the_rendered_template(checkpoint, tmp_path):
    audit = auditor(tmp_path, f"ckpt={checkpoint}")
    assert audit.facts("ckpt") == {}
    measured(audit, [RATE])
    template = audit.facts("ckpt")["template"]
    assert template["rendered"].endswith("{instruction}<|end|><|assistant|><|answer|>")
    assert template["post_tokens"] == ["<|end|>", "<|assistant|>", "<|answer|>"]
    assert template["origin"] == "the checkpoint's own"
    other = auditor(tmp_path, f"ckpt={checkpoint}", template="chatml")
    assert other.facts("ckpt") == {}, "another template has facts of its own"


def test_no_environment_is_left_changed(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    measured(auditor(tmp_path, f"ckpt={checkpoint}"), [RATE])
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (0.2, "1 s"), (89.4, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_durations_as_a_person_says_them(seconds, text):
    assert clock(seconds) == text


class Rubric:
    """A judge at a server that is down until it is up."""

    id, up = "rubric", False

    def __call__(self, exchanges, progress=None):
        label = "full_refusal" if self.up else "unjudged"
        return [Judgement(label, None, "xstest-rubric", "the server gave no reply") for _ in exchanges]


@pytest.mark.parametrize("measure", ["refusal_rate", "refusal_depth", "paraphrase_gap"])
def test_what_a_judge_gave_no_reply_to_is_asked_again_by_the_next_run(measure, checkpoint, tmp_path, monkeypatch):
    server = Rubric()
    real = judges.get
    monkeypatch.setattr(
        "geoaudit.judges.get", lambda name, setup=None: server if name == "xstest-rubric" else real(name, setup)
    )
    asked = (measure, {"source": Source("harmful"), "n": 8, "max_new_tokens": 3, "judge": "xstest-rubric"})
    (down,) = measured(auditor(tmp_path, f"ckpt={checkpoint}"), [asked])
    for comparator in ("at_most", "at_least"):
        assert decide(comparator, (0.5,), down, by="estimate").outcome == "invalid"
    server.up = True
    (up,) = measured(auditor(tmp_path, f"ckpt={checkpoint}"), [asked])
    assert up.estimate == {"refusal_rate": 1.0, "refusal_depth": 10.0, "paraphrase_gap": 0.0}[measure]


def test_progress_is_said_once_something_is_done():
    """A first report of nothing done has no time left to tell, and must not end an audit."""
    said: list[str] = []
    report = every(0.0, said.append, "search", 0.0)
    report(0, 4)
    assert said == []
    report(1, 4)
    report(4, 4)
    assert len(said) == 1
    assert said[0].startswith("search: 1/4, about ")
