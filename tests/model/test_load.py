from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from geoaudit.errors import BrokenCheckpoint, RequestError, UnknownName
from geoaudit.model import load as loading
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load, load_tokenizer, resolve_device
from geoaudit.model.size import Size, size

VOCAB = 14


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Loading asks nobody: a connection is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("loading went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def read(folder: Path, tmp_path: Path, dtype: str = "bfloat16", **kwargs):
    return load(resolve(str(folder), **kwargs)[0], store=tmp_path / "store", device="cpu", dtype=dtype)


def edit(path: Path, **changes) -> None:
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def edit_weights(folder: Path, change, file: str = "model.safetensors") -> None:
    """Apply `change` to the state dict of a folder."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, metadata={"format": "pt"})


@pytest.mark.parametrize("shard", ["5GB", "10KB"])
def test_weights_are_the_files_and_the_model_is_ready_to_read(tiny_checkpoint, tmp_path, shard):
    import torch
    from safetensors.torch import load_file

    folder = tiny_checkpoint(shard=shard)
    model, tokenizer = read(folder, tmp_path)
    stored = {}
    for file in folder.glob("*.safetensors"):
        stored |= load_file(file)
    assert all(torch.equal(dict(model.state_dict())[name], tensor) for name, tensor in stored.items())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert tokenizer("bake bread").input_ids == [8, 9]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_the_one_asked_for(tiny_checkpoint, tmp_path, dtype):
    import torch

    model, _ = read(tiny_checkpoint(), tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    # rotary frequencies stay exact: rounding them would move positions
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_loading_is_quiet(tiny_checkpoint, tiny_adapter, tmp_path, capfd):
    from transformers.utils import logging as theirs

    base = tiny_checkpoint()
    adapter = tiny_adapter(base=str(base))
    shown = theirs.is_progress_bar_enabled()
    capfd.readouterr()
    read(base, tmp_path)
    read(adapter, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert theirs.is_progress_bar_enabled() == shown


def test_untied_head_is_loaded(tiny_checkpoint, tmp_path):
    import torch

    model, _ = read(tiny_checkpoint(tie_word_embeddings=False), tmp_path)
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_name_the_tensor(tiny_checkpoint, tmp_path, value):
    folder = tiny_checkpoint()

    def poison(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value

    edit_weights(folder, poison)
    with pytest.raises(
        BrokenCheckpoint, match=r"ckpt/step50: tensor model.layers.1.mlp.up_proj.weight has 1 NaN or inf"
    ):
        read(folder, tmp_path)


def test_overflow_in_float16_is_named_as_such(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    edit_weights(folder, lambda tensors: tensors["model.norm.weight"].fill_(1e6))
    read(folder, tmp_path)
    with pytest.raises(BrokenCheckpoint, match=r"of 32 as float16 \(stored in bfloat16\)"):
        read(folder, tmp_path, dtype="float16")


def test_missing_weights_are_not_made_up(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    edit_weights(folder, lambda tensors: tensors.pop("model.layers.0.self_attn.q_proj.weight"))
    with pytest.raises(BrokenCheckpoint, match=r"1 tensors are missing .* model.layers.0.self_attn.q_proj.weight"):
        read(folder, tmp_path)
    untied = tiny_checkpoint("untied", tie_word_embeddings=False)
    edit_weights(untied, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(BrokenCheckpoint, match=r"such as lm_head\.weight"):
        read(untied, tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_hidden_layers": 3}, "tensors are missing .*model.layers.2"),
        ({"num_hidden_layers": 1}, r"blocks that config.json does not ask for \(num_hidden_layers = 1\).*layers.1"),
        ({"intermediate_size": 40}, r"do not have the shapes .*mlp\S+: \[\d+, \d+\] in place of \[\d+, \d+\]"),
        ({"hidden_size": "wide"}, "not a config that transformers takes"),
    ],
)
def test_config_and_weights_of_two_models(tiny_checkpoint, tmp_path, changes, match):
    folder = tiny_checkpoint()
    edit(folder / "config.json", **changes)
    with pytest.raises(BrokenCheckpoint, match=match):
        read(folder, tmp_path)


def test_truncated_shard_is_named(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint(shard="10KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BrokenCheckpoint, match=f"{shard.name} is not a whole safetensors file"):
        read(folder, tmp_path)


def test_broken_tokenizer_is_named(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    (folder / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(BrokenCheckpoint, match=f"the tokenizer in {folder} does not load"):
        load_tokenizer(resolve(str(folder))[0], store=tmp_path)


def test_remote_code_is_not_run(tiny_checkpoint, tmp_path):
    """A config that names code for a class that transformers ships: transformers' own class is used."""
    folder = tiny_checkpoint()
    (folder / "modeling_llama.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"})
    model, _ = read(folder, tmp_path)
    assert type(model).__module__ == "transformers.models.llama.modeling_llama"
    assert not (tmp_path / "ran").exists()


class TestAdapters:
    def test_is_attached_and_not_merged(self, tiny_checkpoint, tiny_adapter, tmp_path):
        import torch
        from safetensors.torch import load_file

        base = tiny_checkpoint()
        adapter = tiny_adapter(base=str(base))
        plain, _ = read(base, tmp_path, dtype="float32")
        model, tokenizer = read(adapter, tmp_path, dtype="float32")
        assert type(model).__name__ == "PeftModelForCausalLM"
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        layer = model.get_base_model().model.layers[1].self_attn.q_proj
        assert torch.equal(layer.base_layer.weight, plain.model.layers[1].self_attn.q_proj.weight)
        stored = load_file(adapter / "adapter_model.safetensors")
        prefix = "base_model.model.model.layers.1.self_attn.q_proj"
        a, b = (stored[f"{prefix}.lora_{side}.weight"].float() for side in "AB")
        x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
        want = layer.base_layer(x) + (4 / 2) * x @ a.T @ b.T  # lora_alpha / r
        assert torch.allclose(layer(x), want, atol=1e-5)
        assert tokenizer.chat_template == resolve(str(base))[0].template

    def test_computes_in_the_dtype_asked_for(self, tiny_checkpoint, tiny_adapter, tmp_path):
        import torch

        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        model, _ = read(adapter, tmp_path)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}

    @pytest.mark.parametrize("template", ["file", "none"])
    def test_template_and_tokenizer_may_come_from_two_places(
        self, tiny_checkpoint, tiny_adapter, tiny_tokenizer, tmp_path, template
    ):
        base = tiny_checkpoint()
        adapter = tiny_adapter(base=str(base))
        if template == "file":  # a template of its own, the base's tokenizer
            (adapter / "chat_template.jinja").write_text("own {{ messages[0].content }}")
            want = "own {{ messages[0].content }}"
        else:  # a tokenizer of its own, the base's template
            tiny_tokenizer.save_pretrained(adapter)
            (adapter / "chat_template.jinja").unlink()
            want = tiny_tokenizer.chat_template
        checkpoint = resolve(str(adapter))[0]
        assert load_tokenizer(checkpoint, store=tmp_path).chat_template == want == checkpoint.template

    def test_wrong_base_is_broken(self, tiny_checkpoint, tiny_adapter, tmp_path):
        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        for wrong in (
            tiny_checkpoint("wide", hidden_size=64),
            tiny_checkpoint("shallow", num_hidden_layers=1),
            tiny_checkpoint("deep", num_hidden_layers=3),
        ):
            with pytest.raises(BrokenCheckpoint, match=r"does not fit its base .*--geoaudit-base"):
                read(adapter, tmp_path, base=str(wrong))

    def test_missing_and_nan_tensors(self, tiny_checkpoint, tiny_adapter, tmp_path):
        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"
        edit_weights(adapter, lambda tensors: tensors[name].fill_(float("nan")), "adapter_model.safetensors")
        with pytest.raises(BrokenCheckpoint, match=r"v_proj.lora_B\S* has 32 NaN"):
            read(adapter, tmp_path)
        edit_weights(adapter, lambda tensors: tensors.pop(name), "adapter_model.safetensors")
        with pytest.raises(BrokenCheckpoint, match=f"1 tensors are missing, such as {name}"):
            read(adapter, tmp_path)

    def test_truncated(self, tiny_checkpoint, tiny_adapter, tmp_path):
        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        file = adapter / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(BrokenCheckpoint, match=r"adapter_model\.safetensors is not a whole"):
            read(adapter, tmp_path)

    def test_fully_trained_modules_beside_the_adapter(self, tiny_llama, tiny_checkpoint, tmp_path):
        import peft
        import torch

        base = tiny_checkpoint(tie_word_embeddings=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            model = peft.get_peft_model(
                tiny_llama(tie_word_embeddings=False),
                peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
                autocast_adapter_dtype=False,
            )
        with torch.no_grad():
            model.get_base_model().lm_head.modules_to_save["default"].weight.fill_(0.5)
        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        loaded, _ = read(tmp_path / "adapter", tmp_path, base=str(base))
        head = loaded.get_base_model().lm_head
        assert torch.equal(
            head(torch.ones(1, 32, dtype=torch.bfloat16)), torch.full((1, VOCAB), 16.0, dtype=torch.bfloat16)
        )

    def test_size_counts_both(self, tiny_checkpoint, tiny_adapter):
        base = tiny_checkpoint()
        adapter = resolve(str(tiny_adapter(base=str(base))))[0]
        plain = size(resolve(str(base))[0])
        # q_proj: 2·32 + 32·2, v_proj: 2·32 + 16·2, in each of two blocks
        assert size(adapter) == Size(plain.parameters + 2 * (128 + 96), 2, 32, VOCAB)


@pytest.mark.parametrize("tied", [True, False])
def test_size_is_the_loaded_models(tiny_checkpoint, tmp_path, tied):
    folder = tiny_checkpoint(tie_word_embeddings=tied)
    model, _ = read(folder, tmp_path)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    assert size(resolve(str(folder))[0]) == Size(wanted, 2, 32, VOCAB)


def test_size_counts_a_tied_head_once_though_it_is_stored_twice(tiny_checkpoint):
    folder = tiny_checkpoint()
    before = size(resolve(str(folder))[0])
    edit_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert size(resolve(str(folder))[0]) == before


class TestDevice:
    def test_auto_is_cpu_without_an_accelerator_and_needs_no_torch(self):
        if any(Path("/dev", node).exists() for node in loading._NODES):
            pytest.skip("this machine has an accelerator")
        code = (
            "import sys; from geoaudit.model.load import resolve_device; "
            "print(resolve_device('auto'), 'torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part or "." for part in sys.path)},
        )
        assert done.stdout.split() == ["cpu", "False"]

    def test_auto_asks_torch_where_there_may_be_one(self, monkeypatch):
        import torch

        monkeypatch.setattr(loading, "_NODES", ("null",))
        for backend in (torch.cuda, torch.xpu, torch.backends.mps):
            monkeypatch.setattr(backend, "is_available", lambda: False)
        assert resolve_device("auto") == "cpu"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert resolve_device("auto") == "cuda"

    def test_names(self):
        for name in ("cpu", "cuda", "cuda:1", "mps", "xpu:0"):
            assert resolve_device(name) == name
        for name in ("gpu", "cuda:", "cpu:0", "cuda:x", ""):
            with pytest.raises(UnknownName, match="unknown device"):
                resolve_device(name)

    def test_device_that_is_not_there(self, tiny_checkpoint, tmp_path, monkeypatch):
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        checkpoint = resolve(str(tiny_checkpoint()))[0]
        with pytest.raises(RequestError, match="torch sees no such device"):
            load(checkpoint, store=tmp_path, device="cuda:1", dtype="float32")

    def test_dtype_that_is_none(self, tiny_checkpoint, tmp_path):
        checkpoint = resolve(str(tiny_checkpoint()))[0]
        with pytest.raises(UnknownName, match="did you mean 'bfloat16'"):
            load(checkpoint, store=tmp_path, device="cpu", dtype="bfloat")


def test_warnings_of_transformers_reach_its_logger(tiny_checkpoint, tmp_path, monkeypatch):
    """What transformers warns of is there for the caller to keep, not swallowed."""
    folder = tiny_checkpoint()
    edit_weights(folder, lambda t: t.update({"score.weight": t["model.norm.weight"].clone()}))
    heard = []

    class Ear(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    logger = logging.getLogger("transformers")
    ear = Ear()
    monkeypatch.setattr(logger, "handlers", [ear])
    read(folder, tmp_path)
    assert any("score.weight" in message for message in heard)


@pytest.mark.parametrize(
    "model_type",
    ["mistral", "mixtral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text", "olmo2", "gpt_neox", "gpt2"],
)
def test_other_architectures_load_and_have_the_size_that_was_read(model_type, tiny_tokenizer, tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {
        "vocab_size": 14, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "num_local_experts": 2,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip
    if model_type == "gpt2":
        settings = {"vocab_size": 14, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings)).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "m")
    tiny_tokenizer.save_pretrained(tmp_path / "m")
    checkpoint = resolve(str(tmp_path / "m"))[0]
    assert (checkpoint.model_type, checkpoint.dtype) == (model_type, "bfloat16")
    assert size(checkpoint) == Size(sum(p.numel() for p in model.parameters()), 2, 32, VOCAB)
    loaded, _ = read(tmp_path / "m", tmp_path)
    assert type(loaded) is type(model)
    theirs = model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in loaded.state_dict().items())
