"""The saved adapter, loaded by PEFT on the unedited base, against the edited copy."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from geoaudit.errors import RequestError
from geoaudit.interventions.adapter import save_adapter
from geoaudit.interventions.weights import orthogonalised
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from tests.interventions.test_weights import BEHIND_A_NORM, EXACT, basis, of_hooks, unedited
from tests.model.families import tiny_loaded, tiny_model
from tests.model.test_architecture import with_lora

DENSE = [name for name in EXACT if name != "mixtral"]


def loaded_by_peft(name, folder, **settings) -> LoadedModel:
    import peft

    with warnings.catch_warnings():
        # transformers' deprecated name; and that an embedding is adapted apart from the unembedding it is tied to
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        adapted = peft.PeftModel.from_pretrained(tiny_model(name, **settings), str(folder)).eval()
    plain = tiny_loaded("llama")
    return LoadedModel(adapted, plain.tokenizer, plain.chat)


@pytest.mark.parametrize(("k", "dose"), [(1, 1.0), (3, 0.5)])
@pytest.mark.parametrize("name", DENSE)
def test_on_its_base_the_adapter_is_the_ablation(name, k, dose, tmp_path):
    loaded, rows = tiny_loaded(name), basis(k)
    before = unedited(loaded)
    folder = save_adapter(loaded, rows, tmp_path / "ablated", dose)
    assert torch.equal(unedited(loaded), before)
    assert {file.name for file in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    again = loaded_by_peft(name, folder)
    torch.testing.assert_close(unedited(again), of_hooks(loaded, rows, dose), rtol=1e-4, atol=1e-4)
    assert {module.r["default"] for module in again.model.modules() if hasattr(module, "lora_A")} == {k}


@pytest.mark.parametrize("name", BEHIND_A_NORM)
def test_behind_a_norm_it_is_the_approximate_copy(name, tmp_path):
    loaded, rows = tiny_loaded(name), basis()
    with pytest.raises(RequestError, match="norm stands between"):
        save_adapter(loaded, rows, tmp_path)
    folder = save_adapter(loaded, rows, tmp_path, approximate=True)
    copied = orthogonalised(loaded, rows, approximate=True)
    torch.testing.assert_close(unedited(loaded_by_peft(name, folder)), unedited(copied), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_tied_unembedding_stays_as_it_was(name, tmp_path):
    loaded, rows = tiny_loaded(name, tie_word_embeddings=True), basis()
    again = loaded_by_peft(name, save_adapter(loaded, rows, tmp_path), tie_word_embeddings=True)
    torch.testing.assert_close(unedited(again), of_hooks(loaded, rows, 1.0), rtol=1e-4, atol=1e-4)


def test_biases_are_stored_whole_where_there_are_any(tmp_path):
    biased = {"attention_bias": True, "mlp_bias": True}
    loaded, rows = tiny_loaded("llama", **biased), basis()
    folder = save_adapter(loaded, rows, tmp_path / "biased")
    again = loaded_by_peft("llama", folder, **biased)
    torch.testing.assert_close(unedited(again), of_hooks(loaded, rows, 1.0), rtol=1e-4, atol=1e-4)
    assert json.loads((folder / "adapter_config.json").read_text())["bias"] == "lora_only"
    plain = save_adapter(tiny_loaded("llama"), rows, tmp_path / "plain")
    assert json.loads((plain / "adapter_config.json").read_text())["bias"] == "none"


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_audit_loads_it_as_any_adapter(name, tmp_path):
    loaded, rows = tiny_loaded(name), basis()
    base = tmp_path / "base"
    loaded.model.save_pretrained(base)
    loaded.tokenizer.save_pretrained(base)
    save_adapter(loaded, rows, tmp_path / "ablated", base=str(base))
    (checkpoint,) = resolve(str(tmp_path / "ablated"))
    assert checkpoint.kind == "adapter"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, tokenizer = load(checkpoint, store=tmp_path / "store", device="cpu", dtype="float32")
    again = LoadedModel(model, tokenizer, loaded.chat)
    torch.testing.assert_close(unedited(again), of_hooks(loaded, rows, 1.0), rtol=1e-4, atol=1e-4)


def test_the_same_request_writes_the_same_bytes(tmp_path):
    loaded, rows = tiny_loaded("gpt2"), basis()
    one, two = (save_adapter(loaded, rows, tmp_path / name) for name in ("one", "two"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    targets = json.loads((one / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)  # a set, whose order is another in another process


def test_what_an_adapter_cannot_hold_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"model\.layers\.0\.mlp\.experts\.down_proj and 2 more .* copy"):
        save_adapter(tiny_loaded("mixtral"), basis(), tmp_path)
    plain = tiny_loaded("llama")
    adapted = LoadedModel(with_lora(tiny_model("llama")), plain.tokenizer, plain.chat)
    with pytest.raises(RequestError, match="carries an adapter"):
        save_adapter(adapted, basis(), tmp_path)
    assert not list(tmp_path.iterdir())
    save_adapter(plain, basis(), tmp_path)
    with pytest.raises(RequestError, match="already holds an adapter"):
        save_adapter(plain, basis(), tmp_path)
