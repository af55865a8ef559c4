"""One base in memory for many adapters: a swapped adapter is the one that is loaded afresh, bit for bit."""

from __future__ import annotations

import gc
import hashlib
import os
import warnings
import weakref
from pathlib import Path

import pytest
import torch

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model import load as loading
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.held import Held, leaves_its_base
from geoaudit.model.load import load, load_tokenizer

IDS = torch.tensor([[1, 4, 5, 6, 7, 8, 9, 2, 3], [1, 10, 11, 12, 13, 4, 5, 2, 3]])
EVERY_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

PLAIN = {
    "small": {"r": 2, "target_modules": ["q_proj", "v_proj"]},
    "wide": {"r": 7, "lora_alpha": 3, "target_modules": EVERY_LINEAR},
    "rslora": {"r": 4, "use_rslora": True, "target_modules": ["o_proj", "down_proj"]},
    "patterns": {
        "r": 3,
        "target_modules": EVERY_LINEAR,
        "rank_pattern": {"layers.1.self_attn.q_proj": 5},
        "alpha_pattern": {"layers.0.mlp.up_proj": 32},
    },
    "one_layer": {"r": 2, "target_modules": ["k_proj"], "layers_to_transform": [1]},
    "dora": {"r": 3, "use_dora": True, "target_modules": ["q_proj", "up_proj"]},
    "head": {"r": 2, "target_modules": ["lm_head"]},
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "q_proj"]},
}
"""Adapters that leave their base as it is."""
OWN = {
    "norm_trained": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    "pissa": {"r": 2, "target_modules": ["q_proj"], "init_lora_weights": "pissa"},
    "olora": {"r": 2, "target_modules": ["v_proj"], "init_lora_weights": "olora"},
    "new_words": {"r": 2, "target_modules": ["q_proj"], "trainable_token_indices": [4, 5]},
}
"""Those that do not."""


@pytest.fixture
def base(tiny_checkpoint) -> Path:
    return tiny_checkpoint("base", dtype=torch.float32, tie_word_embeddings=False)


@pytest.fixture
def adapter(base, tmp_path):
    """Saves an adapter of `base` whose weights are not zero."""
    import peft
    from transformers import AutoModelForCausalLM

    def save(name: str, settings: dict, seed: int = 0) -> Checkpoint:
        folder = tmp_path / name
        config = peft.LoraConfig(**{"task_type": "CAUSAL_LM", "init_lora_weights": False, **settings})
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn_like(parameter)
        model.peft_config["default"].base_model_name_or_path = str(base)
        model.save_pretrained(folder, save_embedding_layers=False)
        (found,) = resolve(str(folder))
        return found

    return save


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Bases that are read from now on; no other may be in memory when one is."""
    seen, alive = [], []
    real = loading._model

    def counted(checkpoint, *more):
        gc.collect()
        assert [one for one in alive if one() is not None] == [], "never two bases"
        model = real(checkpoint, *more)
        seen.append(checkpoint.path.name)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loading, "_model", counted)
    return seen


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(IDS).logits


def fresh(checkpoint: Checkpoint, store: Path) -> torch.Tensor:
    return logits(load(checkpoint, store=store, device="cpu", dtype=checkpoint.dtype)[0])


def lend(held: Held, checkpoint: Checkpoint, taken_back=lambda: None, dtype: str | None = None):
    tokenizer = load_tokenizer(checkpoint, store=held.store)
    return held.lend(checkpoint, tokenizer, dtype or checkpoint.dtype, taken_back)


def sha256(model) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def whole(base: Path) -> Checkpoint:
    return resolve(str(base))[0]


def test_swapped_adapters_compute_what_fresh_loads_compute_and_the_base_is_read_once(base, adapter, tmp_path, reads):
    checkpoints = [whole(base), *(adapter(name, settings) for name, settings in PLAIN.items()), whole(base)]
    expected = [fresh(one, tmp_path) for one in checkpoints]
    assert len({tuple(one.flatten().tolist()) for one in expected}) == len(PLAIN) + 1, "no two are the same"
    reads.clear()
    held = Held(tmp_path, "cpu")
    for one, what in zip(checkpoints, expected, strict=True):
        model = lend(held, one)
        assert torch.equal(logits(model), what), one.name
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        del model
    assert reads == ["base"]
    backwards = [torch.equal(logits(lend(held, one)), what) for one, what in zip(checkpoints, expected, strict=True)]
    assert all(backwards)
    assert reads == ["base"]


def test_the_base_is_untouched_by_the_adapters_that_were_on_it(base, adapter, tmp_path):
    held = Held(tmp_path, "cpu")
    untouched = sha256(lend(held, whole(base)))
    names = [name for name, _ in lend(held, whole(base)).named_modules()]
    for name, settings in PLAIN.items():
        lend(held, adapter(name, settings))
        after = lend(held, whole(base))
        assert sha256(after) == untouched
        assert [name for name, _ in after.named_modules()] == names
        assert not hasattr(after, "peft_config")


@pytest.mark.parametrize("name", OWN)
def test_adapters_that_change_their_base_get_one_of_their_own(base, adapter, tmp_path, name, reads):
    own, plain = adapter(name, OWN[name]), adapter("plain", PLAIN["wide"])
    assert not leaves_its_base(own)
    assert leaves_its_base(plain)
    order = [plain, own, plain, whole(base), own, whole(base)]
    expected = [fresh(one, tmp_path) for one in order]
    reads.clear()
    held = Held(tmp_path, "cpu")
    assert [torch.equal(logits(lend(held, one)), what) for one, what in zip(order, expected, strict=True)] == [True] * 6
    assert reads == ["base"] * 5, "the plain one and its base share one"


@pytest.mark.parametrize("what", ["weight", "hook", "buffer"])
def test_a_base_that_somebody_changed_is_read_again(base, adapter, tmp_path, what, reads):
    plain = adapter("plain", PLAIN["small"])
    expected = fresh(plain, tmp_path)
    reads.clear()
    held = Held(tmp_path, "cpu")
    inside = lend(held, plain).get_base_model()
    if what == "weight":
        inside.model.layers[1].mlp.up_proj.weight.data[3, 4] += 1e-3
    elif what == "buffer":
        inside.model.rotary_emb.inv_freq[0] *= 1.01
    else:
        inside.model.layers[0].register_forward_hook(lambda module, given, made: made)
    del inside
    assert torch.equal(logits(lend(held, plain)), expected)
    assert reads == ["base", "base"]


def test_files_that_were_written_over_are_read_again(base, adapter, tmp_path, tiny_llama, reads):
    plain = adapter("plain", PLAIN["small"])
    held = Held(tmp_path, "cpu")
    first = logits(lend(held, plain))
    tiny_llama(seed=3, dtype=torch.float32, tie_word_embeddings=False).save_pretrained(base)
    os.utime(base / "model.safetensors", ns=(1, 1))
    second = logits(lend(held, plain))
    assert reads == ["base", "base"]
    held.release()
    assert not torch.equal(first, second)
    assert torch.equal(second, fresh(plain, tmp_path))


def test_another_base_or_dtype_is_another_model(base, adapter, tiny_checkpoint, tmp_path, reads):
    held = Held(tmp_path, "cpu")
    plain = adapter("plain", PLAIN["small"])
    lend(held, plain)
    assert {one.dtype for one in lend(held, plain, dtype="bfloat16").parameters()} == {torch.bfloat16}
    other = resolve(str(tiny_checkpoint("other", seed=5)))[0]
    swapped = logits(lend(held, other))
    assert reads == ["base", "base", "other"]
    held.release()
    assert torch.equal(swapped, fresh(other, tmp_path))


def test_whoever_had_the_model_gives_it_back_first(base, adapter, tmp_path):
    held = Held(tmp_path, "cpu")
    said: list[str] = []
    plain = adapter("plain", PLAIN["small"])
    lend(held, plain, lambda: said.append("plain"))
    assert said == []
    lend(held, whole(base), lambda: said.append("base"))
    assert said == ["plain"]
    held.keep(lambda source: source.path == base)
    assert said == ["plain", "base"]
    held.release()
    assert said == ["plain", "base"], "once"


def test_what_nobody_wants_is_let_go_of(base, adapter, tmp_path, reads):
    held = Held(tmp_path, "cpu")
    plain = adapter("plain", PLAIN["small"])
    for let_go, read in ((lambda: held.keep(lambda source: True), 1), (held.release, 2)):
        ref = weakref.ref(lend(held, plain).get_base_model())
        let_go()
        gc.collect()
        assert (ref() is None) == (read == 2)
    lend(held, plain)
    assert reads == ["base", "base"]
    held.keep(lambda source: False)
    lend(held, plain)
    assert reads == ["base"] * 3


@pytest.mark.parametrize("how", ["nan", "missing"])
def test_a_broken_adapter_does_not_spoil_the_next(base, adapter, tmp_path, how):
    from safetensors.torch import load_file, save_file

    plain, broken = adapter("plain", PLAIN["wide"]), adapter("broken", PLAIN["small"])
    weights = load_file(broken.path / "adapter_model.safetensors")
    name = sorted(weights)[0]
    if how == "nan":
        weights[name][0, 0] = torch.nan
    else:
        weights.pop(name)
    save_file(weights, broken.path / "adapter_model.safetensors", metadata={"format": "pt"})
    expected = fresh(plain, tmp_path)
    held = Held(tmp_path, "cpu")
    for _ in range(2):
        assert torch.equal(logits(lend(held, plain)), expected)
        with pytest.raises(BrokenCheckpoint):
            lend(held, broken)
