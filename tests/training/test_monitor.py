"""A monitor reads a run and leaves it as it would have been."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from geoaudit.errors import MissingTemplate, RequestError, UnknownArchitecture
from geoaudit.training import Monitor, curve, dense, monitor
from geoaudit.training.in_memory import WeightsInMemory, check_whole
from geoaudit.training.monitor_settings import MonitorSettings
from tests.model.planted import Planted
from tests.training.monitored import SETTINGS, opened, refusal_id, trainer


class Meddling(Monitor):
    """A monitor that looks at the weights and draws a random number: what the real one must not do."""

    def _probe(self, model: Any, state: Any) -> bool:
        stop = super()._probe(model, state)
        torch.rand(1)
        return stop


def a_monitor(tokenizer: Any, folder: Path, kind: type[Monitor] = Monitor, **fields: Any) -> Monitor:
    said: list[str] = []
    made = kind(
        refusals=[refusal_id(tokenizer)],
        store=folder / "store",
        out=folder / "curve",
        say=said.append,
        **{**SETTINGS, **fields},
    )
    made.said = said  # type: ignore[attr-defined]
    return made


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    with warnings.catch_warnings():  # PEFT asks transformers for a name that transformers 5.23 calls deprecated
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, LoraConfig(r=2, lora_dropout=0.3, target_modules=["q_proj", "v_proj"]))


REGIMES: dict[str, dict[str, Any]] = {
    "full": {},
    "full, bf16, accumulation, checkpointing": {
        "bf16": True,
        "gradient_accumulation_steps": 2,
        "activation_checkpointing": True,
    },
    "lora, checkpointing": {"activation_checkpointing": True},
}


def ran(planted: Planted, folder: Path, regime: str, kind: type[Monitor] | None) -> tuple[Any, Any, Monitor | None]:
    model, tokenizer = opened(planted, attention_dropout=0.3)
    if "lora" in regime:
        model = with_lora(model)
    watching = a_monitor(tokenizer, folder, kind) if kind is not None else None
    run = trainer(model, tokenizer, folder / "run", [watching] if watching else [], **REGIMES[regime])
    run.train()
    return model, run, watching


@pytest.mark.parametrize("regime", REGIMES)
def test_training_with_and_without_it_gives_the_same_bits(
    planted: Callable[..., Planted], regime: str, tmp_path: Path
) -> None:
    truth = planted(layer=3, position=-2)
    plain, run, _ = ran(truth, tmp_path / "plain", regime, None)
    watched, watched_run, watching = ran(truth, tmp_path / "watched", regime, Monitor)
    assert watching is not None
    assert watching.curve is not None
    assert [point.step for point in watching.curve.points] == [0, 2, 4]
    assert all(not point.why_missing for point in watching.curve.points)
    assert same(weights(plain), weights(watched))
    assert [one["loss"] for one in run.state.log_history if "loss" in one] == [
        one["loss"] for one in watched_run.state.log_history if "loss" in one
    ]
    # the curve is of weights that move
    first, last = (watching.curve.points[i].value("refusal_harmless") for i in (0, -1))
    assert first != last


def test_the_comparison_would_notice_a_random_number(planted: Callable[..., Planted], tmp_path: Path) -> None:
    truth = planted(layer=3, position=-2)
    plain, _, _ = ran(truth, tmp_path / "plain", "full", None)
    meddled, _, _ = ran(truth, tmp_path / "meddled", "full", Meddling)
    assert not same(weights(plain), weights(meddled))


def test_nothing_of_the_model_changes_around_a_probe(planted: Callable[..., Planted], tmp_path: Path) -> None:
    """Modes, gradients, `requires_grad`, hooks and tensors, seen from a callback before it and one behind it."""
    model, tokenizer = opened(planted(layer=3, position=-2))
    model.model.embed_tokens.weight.requires_grad_(False)
    seen: list[Any] = []

    class Looks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            model = kwargs["model"]
            model.model.layers[1].eval()  # a part that someone froze
            for parameter in model.model.norm.parameters():
                parameter.grad = torch.ones_like(parameter)
            seen.append(
                (
                    [module.training for module in model.modules()],
                    [parameter.requires_grad for parameter in model.parameters()],
                    [None if p.grad is None else p.grad.clone().tolist() for p in model.parameters()],
                    [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
                    ["forward" in m.__dict__ for m in model.modules()],
                    [tensor.data_ptr() for tensor in model.state_dict().values()],
                    torch.get_rng_state().tolist(),
                    model.config.to_dict(),
                )
            )

    run = trainer(model, tokenizer, tmp_path / "run", [Looks(), a_monitor(tokenizer, tmp_path, every=1), Looks()])
    run.train()
    assert len(seen) == 8
    assert all(seen[i] == seen[i + 1] for i in range(0, 8, 2))


def test_the_curve_is_of_the_weights_of_its_step(planted: Callable[..., Planted], tmp_path: Path) -> None:
    """The last point against a reading of the trained model, and the first one against the planted truth."""
    truth = planted(layer=3, position=-2)
    model, tokenizer = opened(truth)
    watching = a_monitor(tokenizer, tmp_path)
    trainer(model, tokenizer, tmp_path / "run", [watching]).train()
    assert watching.curve is not None
    first, last = watching.curve.points[0], watching.curve.points[-1]
    assert (first.value("layer"), first.value("position"), first.anchor) == (3, -2, True)
    assert first.value("cosine_to_anchor") == pytest.approx(1)
    assert first.value("cosine_to_previous") is None
    from tests.training.test_dense import bench_of

    prompts = dense.prompts_of(watching.settings)
    anew = dense.read(bench_of(model, tokenizer, tmp_path / "other"), watching.settings, prompts)
    assert {name: last.value(name) for name in anew.values} == anew.values
    before = opened(truth)[0]
    original = dense.read(bench_of(before, tokenizer, tmp_path / "third"), watching.settings, prompts)
    assert original.used is not None
    assert anew.used is not None
    expected = dense_cosine(original.direction(original.used), anew.direction(anew.used))
    assert last.value("cosine_to_anchor") == pytest.approx(expected, abs=1e-5)
    at_site = dense_cosine(original.direction(original.used), anew.direction(original.used))
    assert last.value("anchor_site_cosine") == pytest.approx(at_site, abs=1e-5)
    assert last.value("loss") is not None


def dense_cosine(a: Any, b: Any) -> float:
    return float(torch.cosine_similarity(torch.from_numpy(a).double(), torch.from_numpy(b).double(), dim=0))


def test_a_later_anchor_is_the_first_probe_at_or_behind_it(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    bound = {"quantity": "cosine_to_anchor", "at_least": -1}
    watching = a_monitor(tokenizer, tmp_path, every=1, anchor=2, at_start=False, stop=[bound])
    trainer(model, tokenizer, tmp_path / "run", [watching]).train()
    assert watching.curve is not None
    assert [(point.step, point.anchor) for point in watching.curve.points] == [
        (1, False),
        (2, True),
        (3, False),
        (4, False),
    ]
    assert watching.curve.points[0].value("cosine_to_anchor") is None
    assert all(not point.broken for point in watching.curve.points)


def test_it_probes_at_the_last_step_wherever_that_falls(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    watching = a_monitor(tokenizer, tmp_path, every=3, at_start=False)
    trainer(model, tokenizer, tmp_path / "run", [watching]).train()
    assert watching.curve is not None
    assert [point.step for point in watching.curve.points] == [3, 4]
    share = watching.curve.share
    assert share is not None
    assert 0 < share < 1
    first, *_, last = watching.said  # type: ignore[attr-defined]
    assert first.startswith("monitor: 2 to come (every 3 steps, 8 + 8 prompts, 2 positions of 2 layers); curve in ")
    assert "2 probes took" in last
    assert first.endswith(last.rpartition("curve in ")[2])


def test_it_says_what_it_will_read_before_the_first_probe(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    watching = a_monitor(tokenizer, tmp_path)
    trainer(model, tokenizer, tmp_path / "run", [watching]).train()
    first, second, *_ = watching.said  # type: ignore[attr-defined]
    assert first.startswith("monitor: a probe now and 2 to come")
    assert second.startswith("monitor step 0 |")


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "steps", "quantity"), [(1, [0], "kl"), (3, [0, 1, 2], "kl"), (1, [0, 1], "cosine_to_previous")]
)
def test_training_stops_where_a_bound_is_broken(
    planted: Callable[..., Planted], tmp_path: Path, patience: int, steps: list[int], quantity: str
) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    impossible = {"quantity": quantity, "at_least": 19, "patience": patience}
    watching = a_monitor(tokenizer, tmp_path, every=1, stop=[impossible])
    run = trainer(model, tokenizer, tmp_path / "run", [watching])
    run.train()
    assert watching.curve is not None
    # the Trainer looks at what a callback asked for behind a step: one asked for before the first still takes one
    assert [point.step for point in watching.curve.points][: len(steps)] == steps
    assert run.state.global_step == max(1, steps[-1])
    when = "behind its first step" if steps[-1] == 0 else f"at step {steps[-1]}"
    assert any(f"training stops {when}: it broke" in line for line in watching.said)  # type: ignore[attr-defined]


def test_a_bound_that_is_kept_stops_nothing(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    watching = a_monitor(tokenizer, tmp_path, stop=[{"quantity": "refusal_harmful", "at_least": -100}])
    run = trainer(model, tokenizer, tmp_path / "run", [watching])
    run.train()
    assert run.state.global_step == 4


class Breaks(TrainerCallback):
    """Writes NaN into the weights behind a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            with torch.no_grad():
                kwargs["model"].model.layers[1].mlp.down_proj.weight.fill_(float("nan"))


@pytest.mark.parametrize("bounded", [False, True])
def test_what_cannot_be_read_is_said_and_keeps_no_bound(
    planted: Callable[..., Planted], tmp_path: Path, bounded: bool
) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    stop = [{"quantity": "refusal_harmful", "at_most": 100}] if bounded else []
    watching = a_monitor(tokenizer, tmp_path, every=1, stop=stop)
    run = trainer(model, tokenizer, tmp_path / "run", [Breaks(2), watching])
    run.train()
    assert watching.curve is not None
    third = watching.curve.points[2]
    assert "NaN" in third.why_missing
    assert third.value("refusal_harmful") is None
    assert run.state.global_step == (2 if bounded else 4)
    assert len(watching.curve.points) == (3 if bounded else 5)


# --- resuming -------------------------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_with_its_curve(
    planted: Callable[..., Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind step 4 with a checkpoint of step 3: step 4 is read again from the store, and the curve is whole."""
    model, tokenizer = opened(planted(layer=3, position=-2), attention_dropout=0.3)
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = a_monitor(tokenizer, tmp_path, every=2)
    trainer(model, tokenizer, tmp_path / "run", [whole], **saving).train()
    assert whole.curve is not None

    again, _ = opened(planted(layer=3, position=-2), attention_dropout=0.3)
    resumed = a_monitor(tokenizer, tmp_path, every=2)
    opens: list[int] = []
    means = monitor.read

    def counted(bench: Any, *args: Any) -> Any:
        found = means(bench, *args)
        opens.append(bench.made)
        return found

    monkeypatch.setattr(monitor, "read", counted)
    trainer(again, tokenizer, tmp_path / "run", [resumed], **saving).train(
        resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3")
    )
    assert same(weights(model), weights(again))
    assert resumed.curve is not None
    assert [point.step for point in resumed.curve.points] == [0, 2, 4, 6]
    for old, new in zip(whole.curve.points, resumed.curve.points, strict=True):
        assert (old.values, old.candidates, old.anchor) == (new.values, new.candidates, new.anchor)
    assert opens == [0, 0]  # the same weights, so the same rows


def test_a_curve_of_other_settings_is_not_gone_on_with(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer(model, tokenizer, tmp_path / "run", [a_monitor(tokenizer, tmp_path)], **saving).train()
    other = a_monitor(tokenizer, tmp_path, n_train=10)
    run = trainer(model, tokenizer, tmp_path / "run", [other], **saving)
    with pytest.raises(RequestError, match="other prompts, settings"):
        run.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    fresh = a_monitor(tokenizer, tmp_path, n_train=10)  # a run from its start begins its own
    trainer(model, tokenizer, tmp_path / "run", [fresh], max_steps=1).train()
    assert fresh.curve is not None
    assert [point.step for point in fresh.curve.points] == [0, 1]


# --- what it refuses ------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_said_before_the_first_step(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))

    def failing(**fields: Any) -> None:
        run = trainer(model, tokenizer, tmp_path / "run", [a_monitor(tokenizer, tmp_path, **fields)])
        try:
            run.train()
        finally:
            assert run.state.global_step == 0

    with pytest.raises(RequestError, match="no layer 6"):
        failing(layers=[6])
    with pytest.raises(RequestError, match="no tokens behind"):
        failing(template="none")
    with pytest.raises(RequestError, match="n_train"):
        failing(n_train=1000)
    tokenizer.chat_template = None
    with pytest.raises(MissingTemplate, match="give the monitor one"):
        monitor._chat(tokenizer, MonitorSettings())


def test_sharded_parameters_are_refused(planted: Callable[..., Planted]) -> None:
    model, _ = opened(planted(layer=3, position=-2))
    check_whole(model)
    model.lm_head.weight.ds_status = "NOT_AVAILABLE"
    with pytest.raises(RequestError, match="ZeRO-3"):
        check_whole(model)


def test_an_unknown_architecture_is_refused(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    model.config.model_type = "lama"
    with pytest.raises(UnknownArchitecture):
        trainer(model, tokenizer, tmp_path / "run", [a_monitor(tokenizer, tmp_path)]).train()


# --- what the weights are called ------------------------------------------------------------------------------------


def test_the_name_of_weights_changes_with_every_tensor_and_with_nothing_else(planted: Callable[..., Planted]) -> None:
    model, _ = opened(planted(layer=3, position=-2))
    model = with_lora(model)
    named = WeightsInMemory()
    first = named.id(model)
    assert named.id(model) == first
    assert WeightsInMemory().id(model) == first
    model.train()
    model.config.use_cache = not model.config.use_cache
    assert named.id(model) == first
    seen = {first}
    parameters = dict(model.named_parameters())
    trained = next(tensor for name, tensor in parameters.items() if "lora_B" in name)
    frozen = next(tensor for name, tensor in parameters.items() if "embed" in name)
    assert not frozen.requires_grad
    for tensor in (trained, frozen):
        with torch.no_grad():
            tensor[0, 0] += 0.5
        assert named.id(model) not in seen
        assert named.id(model) == WeightsInMemory().id(model)
        seen.add(named.id(model))
    trained.data[1, 0] += 0.5  # behind the version counter's back, as some optimisers do
    assert named.id(model) not in seen
    seen.add(named.id(model))
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] *= 2
    assert named.id(model) not in seen


# --- several processes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_probe_once_and_stop_together(in_two_processes: Callable[[str], Path]) -> None:
    folder = in_two_processes("monitored")
    reports = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [one["world"] for one in reports] == [2, 2]
    assert [one["steps"] for one in reports] == [2, 2]  # of 6: both stopped where the first saw the bound broken
    assert [one["points"] for one in reports] == [[0, 1, 2], None]
    assert reports[0]["weights"] == reports[1]["weights"]
    assert [one["failed"] for one in reports] == [True, True]
    found = curve.read(folder / "curve")
    assert found is not None
    assert len(found.points) == 3
