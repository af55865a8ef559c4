"""What checkpoints of one run share: the base in memory, the tokenizer, and what requests were rendered to."""

from __future__ import annotations

import threading
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from geoaudit.audit.measuring import Benches
from geoaudit.audit.outlook import outlook
from geoaudit.audit.run import MeasuringStopped
from geoaudit.errors import GeoauditError
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import Completions, Judged
from geoaudit.model import chat as chats
from geoaudit.model import load as loading
from tests.audit.test_run import auditor, measured

RATE = ("refusal_rate", {"source": Source("harmful"), "n": 8, "max_new_tokens": 3})
RANK = ("effective_rank", {"n_train": 32})
LAYER = ("carrier_layer", {"n_train": 32, "n_validation": 8, "rule": "arditi"})
ASKED = (RATE, RANK, LAYER)


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory) -> list[str]:
    """A planted base and two adapters of it, of different ranks and targets, without tokenizers of their own."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    base, folder = planted(layer=2, position=-1).folder, tmp_path_factory.mktemp("tuned")
    found = [f"base={base}"]
    for step, (rank, targets) in enumerate(((2, ["q_proj"]), (5, ["v_proj", "down_proj"])), start=1):
        torch.manual_seed(step)
        settings = peft.LoraConfig(r=rank, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
        model.peft_config["default"].base_model_name_or_path = str(base)
        model.save_pretrained(folder / f"step{step}", save_embedding_layers=False)
        found.append(f"step{step}={folder / f'step{step}'}")
    return found


@pytest.fixture
def counted(monkeypatch) -> dict[str, list[str]]:
    """What is read from files, and rendered, from now on."""
    seen: dict[str, list[str]] = {"bases": [], "tokenizers": [], "rendered": []}
    base, tokenizer, prompt = loading._model, loading.load_tokenizer, chats.Chat._prompt

    def read_base(checkpoint, *more):
        seen["bases"].append(checkpoint.path.name)
        return base(checkpoint, *more)

    def read_tokenizer(checkpoint, **more):
        seen["tokenizers"].append(checkpoint.name)
        return tokenizer(checkpoint, **more)

    def rendered(chat, instruction):
        if chat.n_post:  # not while it finds out what stands behind an instruction
            seen["rendered"].append(instruction)
        return prompt(chat, instruction)

    monkeypatch.setattr(loading, "_model", read_base)
    monkeypatch.setattr(loading, "load_tokenizer", read_tokenizer)
    monkeypatch.setattr(chats.Chat, "_prompt", rendered)
    return seen


def test_one_base_and_one_tokenizer_are_read_for_all_and_every_number_is_that_of_a_checkpoint_alone(
    run, tmp_path, counted
):
    alone = {}
    for spec in run:
        name = spec.partition("=")[0]
        alone[name] = measured(auditor(tmp_path / name, spec, dtype="float32"), ASKED)
    assert len({one[1].estimate for one in alone.values()}) == 3, "no two are the same model"
    for seen in counted.values():
        seen.clear()
    audit = auditor(tmp_path / "together", *run, dtype="float32")
    together = {name: measured(audit, ASKED, name) for name in audit.names}
    assert together == alone
    assert len(counted["bases"]) == 1
    assert counted["tokenizers"] == ["base"]
    assert len(counted["rendered"]) == len(set(counted["rendered"])), "each request once, whoever is asked"


def test_the_base_stays_in_memory_until_the_last_checkpoint_that_needs_it(run, tmp_path, monkeypatch):
    alive: list[weakref.ref] = []
    real = loading.load_base

    def watched(*given, **more):
        model = real(*given, **more)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loading, "load_base", watched)
    audit = auditor(tmp_path, *run)
    there = []
    for name in audit.names:
        measured(audit, [RANK], name)
        there.append([one() is not None for one in alive])
    assert there == [[True], [True], [False]]
    measured(audit, [RATE], "step1")  # asked for later: read again, and let go of again
    assert [one() is not None for one in alive] == [False, False]


def test_what_stops_one_checkpoint_does_not_stop_the_next_of_the_same_base(run, tmp_path, monkeypatch):
    audit = auditor(tmp_path, *run[1:], dtype="float32")
    planned = audit.plan("step1", *RANK)
    with monkeypatch.context() as patch:
        patch.setattr("geoaudit.model.activations.block_means", _full)
        with pytest.raises(MemoryError):
            audit.measurement(planned)
    (after,) = measured(audit, [RANK], "step2")
    assert audit._fulfilling.held._base is None, "nothing comes after it"
    assert after == measured(auditor(tmp_path / "alone", run[2], dtype="float32"), [RANK])[0]


def _full(*given, **more):
    raise MemoryError("full")


def test_a_judge_that_is_a_model_gets_the_memory(run, tmp_path, monkeypatch):
    """The base goes too, not only the bench's reference to it."""
    audit = auditor(tmp_path, *run)
    measured(audit, [RANK], "base")
    assert audit._fulfilling.held._base is not None
    seen = []

    class Judge:
        id = "judge"

        def __call__(self, exchanges):
            seen.append(audit._fulfilling.held._base)
            raise GeoauditError("no weights")

    opening = audit._fulfilling._open
    bench = opening("step1", Benches(opening))
    monkeypatch.setattr("geoaudit.judges.get", lambda name, judging=None: Judge())
    monkeypatch.setattr("geoaudit.judges.info", lambda name: SimpleNamespace(kind="model"))
    with pytest.raises(GeoauditError, match="no weights"):
        bench.fulfil(Judged(Completions(Source("harmful"), 2, 2), "harmbench"))
    assert seen == [None]
    assert "loaded" not in vars(bench)


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def taken(run, tmp_path):
    """Two checkpoints, and the lock of the first."""
    lines: list[str] = []
    audit = auditor(tmp_path, *run[1:], say=lines.append)
    lock = FileLock(audit.store.lock_path(audit.subject("step1").identity.id[:32]), thread_local=False)
    return audit, lock, lines


def test_while_another_process_measures_a_checkpoint_this_one_measures_the_next(taken):
    audit, lock, lines = taken
    audit.lay_plan = lambda name: audit.plan(name, *RANK)
    real = audit._fulfilling.measure

    def released(name, todo):
        real(name, todo)
        lock.release()

    audit._fulfilling.measure = released
    planned = audit.plan("step1", *RANK)
    lock.acquire()
    audit.measurement(planned)
    loads = [line for line in lines if line.endswith("loading") or "waiting" in line]
    assert loads == ["step2: loading", "step1: loading"], "the other first, and nobody waited"
    assert audit.subject("step2").done
    assert audit.unmeasured("step2") == []


def test_what_stops_the_other_is_said_of_the_other(taken, monkeypatch):
    audit, lock, _ = taken
    audit.lay_plan = lambda name: audit.plan(name, *RANK)
    real = audit._fulfilling.measure

    def stopped(name, todo):
        lock.release()
        if name == "step2":
            raise MemoryError("full")
        real(name, todo)

    monkeypatch.setattr(audit._fulfilling, "measure", stopped)
    planned = audit.plan("step1", *RANK)
    lock.acquire()
    assert audit.measurement(planned).estimate is not None
    with pytest.raises(MeasuringStopped, match="step2 stopped before: MemoryError: full"):
        audit.measurement(audit.plan("step2", *RANK))


def test_without_a_plan_for_the_others_it_waits(taken):
    audit, lock, lines = taken
    planned = audit.plan("step1", *RANK)
    there, go = threading.Event(), threading.Event()

    def other():
        with lock:
            there.set()
            go.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    there.wait(60)
    audit.say = lambda line: (lines.append(line), go.set())
    audit.measurement(planned)
    thread.join()
    assert "step1: another process is measuring this checkpoint, waiting for it" in lines
    assert not any(line.startswith("step2") for line in lines)


# --- the plan of several ---------------------------------------------------------------------------------------------


def test_the_plan_of_several_ends_with_all_of_them(run, tmp_path):
    audit = auditor(tmp_path, *run)
    lines = outlook(audit, {name: _planned(audit, name) for name in audit.names}, {})
    assert lines[-1].startswith("plan for all 3 checkpoints: time about ")
    assert "memory about" in lines[-1]
    assert "one model at a time; step1 and step2 are adapters of base, which is read once" in lines[-1]
    (one,) = (line for line in outlook(audit, {"base": _planned(audit, "base")}, {}) if line.startswith("plan for"))
    assert one.startswith("plan for base:")


def test_time_for_all_counts_what_checkpoints_share_once(run, tmp_path, monkeypatch):
    audit = auditor(tmp_path, *run)
    planned = {name: _planned(audit, name) for name in audit.names}
    each = sum({work.node: seconds for name in planned for work, seconds in audit.works(name)}.values())
    seen = []
    monkeypatch.setattr("geoaudit.audit.outlook.clock", lambda seconds: seen.append(seconds) or "x s")
    outlook(audit, planned, {})
    assert seen[-1] == pytest.approx(each)


def _planned(audit, name):
    for one in ASKED:
        audit.plan(name, *one)
    return []


def test_bases_are_named_only_where_there_is_something_to_share(planted, tmp_path):
    audit = auditor(tmp_path, f"a={planted(layer=1, position=-1).folder}", f"b={planted(layer=3, position=-2).folder}")
    lines = outlook(audit, {name: _planned(audit, name) for name in audit.names}, {})
    assert "adapter" not in lines[-1]
    assert Path(audit.checkpoint("a").path).is_dir()
