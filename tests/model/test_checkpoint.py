from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from geoaudit.errors import CheckpointNotFound, RequestError, UnknownArchitecture, UnsupportedCheckpoint
from geoaudit.model import builtin, hub
from geoaudit.model.checkpoint import resolve, resolve_all


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test asks the hub: what is not in its cache is not there."""
    monkeypatch.setattr(hub, "_in_reach", lambda endpoint: False)


def edit(path: Path, **changes) -> None:
    """Change keys of a JSON file; None deletes."""
    settings = json.loads(path.read_text())
    settings = {key: value for key, value in {**settings, **changes}.items() if value is not None}
    path.write_text(json.dumps(settings))


def only(spec, **kwargs):
    (checkpoint,) = resolve(str(spec), **kwargs)
    return checkpoint


def refused(spec, match: str, error: type[Exception] = UnsupportedCheckpoint, **kwargs) -> str:
    with pytest.raises(error, match=match) as caught:
        resolve(str(spec), **kwargs)
    message = str(caught.value)
    assert issubclass(error, RequestError), "what can be known without loading exits 4"
    assert "\n" not in message
    return message


def test_folder_is_found_and_described_without_loading(tiny_checkpoint):
    folder = tiny_checkpoint()
    found = only(folder)
    assert (found.name, found.kind, found.path) == ("ckpt/step50", "directory", folder)
    assert (found.model_type, found.dtype, found.base, found.commit) == ("llama", "bfloat16", None, None)
    assert found.spec == str(folder)
    assert "<u>" in found.template


@pytest.mark.parametrize(("stored", "said"), [("float32", "float32"), ("float16", "float16"), ("float64", "float32")])
def test_dtype_is_the_one_in_the_weights_not_in_the_config(tiny_checkpoint, stored, said):
    import torch

    folder = tiny_checkpoint(dtype=getattr(torch, stored))
    edit(folder / "config.json", dtype="bfloat16")
    assert only(folder).dtype == said


def test_dtype_of_most_elements_wins(tiny_checkpoint):
    from safetensors.torch import load_file, save_file

    folder = tiny_checkpoint()
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert only(folder).dtype == "bfloat16"


def test_name_is_given_or_the_last_two_parts(tiny_checkpoint, monkeypatch):
    folder = tiny_checkpoint()
    named = only(f"mine={folder}")
    assert (named.name, named.spec) == ("mine", f"mine={folder}")
    monkeypatch.chdir(folder.parent)
    assert only("step50").name == "ckpt/step50"
    assert only("step50").path == folder
    monkeypatch.chdir(folder)
    assert only(".").name == "ckpt/step50"


def test_equals_sign_in_a_path_is_part_of_the_path(tiny_checkpoint):
    folder = tiny_checkpoint("run/lr=2e-5")
    assert only(folder).name == "run/lr=2e-5"
    assert [one.name for one in resolve(f"{folder.parent}/lr=*")] == ["run/lr=2e-5"]
    assert only(f"slow={folder}").name == "slow"


def test_spec_finds_the_same_checkpoint_again(tiny_checkpoint, tmp_path):
    for name in ("ckpt/step50", "ckpt/step100"):
        tiny_checkpoint(name)
    for one in [*resolve(f"{tmp_path}/ckpt/step*"), *resolve(f"run={tmp_path}/ckpt/step*")]:
        assert only(one.spec) == one


def test_glob_is_sorted_by_the_numbers_in_names(tiny_checkpoint, tmp_path):
    for step in (100, 50, 9):
        tiny_checkpoint(f"ckpt/step{step}")
    (tmp_path / "ckpt" / "step.log").write_text("a log is no checkpoint")
    pattern = f"{tmp_path}/ckpt/step*"
    assert [one.name for one in resolve(pattern)] == ["ckpt/step9", "ckpt/step50", "ckpt/step100"]
    assert [one.name for one in resolve(f"r={pattern}")] == ["r/step9", "r/step50", "r/step100"]


def test_glob_with_a_broken_checkpoint_is_an_error_not_a_shorter_list(tiny_checkpoint, tmp_path):
    tiny_checkpoint("ckpt/step50")
    broken = tiny_checkpoint("ckpt/step60")
    (broken / "config.json").unlink()
    refused(f"{tmp_path}/ckpt/step*", "step60 has no config.json")


def test_glob_without_a_match(tmp_path):
    refused(f"{tmp_path}/step*", "matches no checkpoint", CheckpointNotFound)


def test_equal_names_ask_for_a_name(tiny_checkpoint, tmp_path):
    first, second = tiny_checkpoint("a/ckpt/step50"), tiny_checkpoint("b/ckpt/step50")
    with pytest.raises(RequestError, match=r"two checkpoints are called 'ckpt/step50'.*--geoaudit-model=NAME="):
        resolve_all([str(first), str(second)])
    found = resolve_all([str(first), f"other={second}"])
    assert [one.name for one in found] == ["ckpt/step50", "other"]


def test_base_without_an_adapter_is_an_error(tiny_checkpoint):
    folder = tiny_checkpoint()
    with pytest.raises(RequestError, match="none of the checkpoints is an adapter"):
        resolve_all([str(folder)], str(folder))


def test_missing_path_names_its_nearest_sibling(tiny_checkpoint, monkeypatch, tmp_path):
    tiny_checkpoint("ckpt/step500")
    refused(tmp_path / "ckpt" / "step50O", r"did you mean '.*ckpt/step500'", CheckpointNotFound)
    monkeypatch.chdir(tmp_path)
    # this one looks like a hub id as well: both readings are answered
    message = refused("ckpt/step5000", "did you mean 'ckpt/step500'", CheckpointNotFound)
    assert "as a hub id" in message
    refused("smollm2-135", "did you mean 'smollm2-135m'", CheckpointNotFound)
    refused("", "empty path", CheckpointNotFound)
    refused("x=nowhere", "read as NAME=PATH with the name 'x'", CheckpointNotFound)
    refused("x=", "says no path", RequestError)


def test_folder_without_config_says_what_it_holds(tiny_checkpoint, tmp_path):
    tiny_checkpoint("ckpt/step50")
    message = refused(tmp_path / "ckpt", "has no config.json, but checkpoints below it")
    assert "step50" in message
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no config.json. Pass the folder")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "model.gguf").touch()
    refused(tmp_path / "q", "but model.gguf: pass")


def test_pickles_are_refused_and_never_opened(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    (folder / "model.safetensors").unlink()
    trap = "cos\nsystem\n(S'touch %s'\ntR." % (tmp_path / "ran")
    (folder / "pytorch_model.bin").write_text(trap)
    refused(folder, "only pytorch_model.bin, which would have to be unpickled.*save_pretrained")
    (tmp_path / "model.pt").write_text(trap)
    refused(tmp_path / "model.pt", "would have to be unpickled")
    assert not (tmp_path / "ran").exists()


def test_pickles_beside_safetensors_do_not_matter(tiny_checkpoint):
    folder = tiny_checkpoint()
    (folder / "optimizer.pt").touch()
    (folder / "training_args.bin").touch()
    assert only(folder).kind == "directory"


@pytest.mark.parametrize(
    ("left", "match"),
    [
        ("pytorch_model_fsdp_0/__0_0.distcp", r"FSDP.*accelerate merge-weights \S+pytorch_model_fsdp_0 \S+step50"),
        ("global_step12/zero_pp_rank_0_mp_rank_00_model_states.pt", r"ZeRO.*python zero_to_fp32.py \. \. "),
        ("zero_to_fp32.py", r"ZeRO.*--safe_serialization"),
        ("shard-00000-model-00001-of-00002.safetensors", "one rank's shards"),
        ("nothing", "has no weights: neither model.safetensors nor"),
    ],
)
def test_unmerged_shards_name_the_command_that_merges_them(tiny_checkpoint, left, match):
    folder = tiny_checkpoint()
    (folder / "model.safetensors").unlink()
    (folder / left).parent.mkdir(exist_ok=True)
    (folder / left).touch()
    refused(folder, match)


def test_zero_folder_beside_merged_weights_does_not_matter(tiny_checkpoint):
    folder = tiny_checkpoint()
    (folder / "global_step12").mkdir()
    (folder / "zero_to_fp32.py").touch()
    assert only(folder).kind == "directory"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"model_type": "llama",', "cannot be read as JSON"),
        ("[]", "must hold a JSON object, got list"),
        ("{}", "names no model_type"),
        (b"\xff\xfe", "cannot be read as JSON"),
    ],
)
def test_broken_config(tiny_checkpoint, text, match):
    folder = tiny_checkpoint()
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(folder, match)


def test_unknown_model_type_comes_from_the_architecture_table(tiny_checkpoint):
    folder = tiny_checkpoint()
    edit(folder / "config.json", model_type="lama")
    refused(folder, "did you mean 'llama'", UnknownArchitecture)


def test_missing_shards_are_named(tiny_checkpoint):
    folder = tiny_checkpoint(shard="10KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert only(folder).dtype == "bfloat16"
    shards[1].unlink()
    refused(folder, f"lacks 1 of the {len(shards)} weight files.*{shards[1].name}")


def test_index_cannot_point_outside_its_folder(tiny_checkpoint):
    folder = tiny_checkpoint(shard="10KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "../secret.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "file outside its folder")


def test_git_lfs_pointer_is_not_weights(tiny_checkpoint):
    folder = tiny_checkpoint()
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    refused(folder, "git lfs pull")


def test_missing_tokenizer_files_are_named(tiny_checkpoint):
    folder = tiny_checkpoint()
    (folder / "tokenizer.json").unlink()
    refused(folder, "has no tokenizer: none of tokenizer.json, .*save_pretrained")
    (folder / "vocab.json").write_text("{}")
    refused(folder, "vocab.json is there, merges.txt is not")
    (folder / "merges.txt").write_text("")
    assert only(folder).kind == "directory"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}}, "trust_remote_code is off"),
        ({"auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}, "trust_remote_code is off"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"stored quantised \(gptq\)"),
        ({"transformers_weights": "other.safetensors"}, "weights of another name"),
    ],
)
def test_configs_that_would_load_something_else_are_refused(tiny_checkpoint, changes, match):
    folder = tiny_checkpoint()
    edit(folder / "config.json", **changes)
    refused(folder, match)


def test_code_for_a_class_that_transformers_ships_is_passed_over(tiny_checkpoint):
    folder = tiny_checkpoint()
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"})
    assert only(folder).model_type == "llama"


def test_single_files_are_sent_to_their_folder(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    refused(folder / "model.safetensors", "one file of a checkpoint: pass its folder")
    (tmp_path / "notes.txt").touch()
    refused(tmp_path / "notes.txt", "is no checkpoint")


class TestAdapters:
    def test_base_by_path_in_its_config(self, tiny_checkpoint, tiny_adapter):
        base = tiny_checkpoint()
        found = only(tiny_adapter(base=str(base)))
        assert (found.kind, found.base.path, found.model_type, found.dtype) == ("adapter", base, "llama", "bfloat16")
        assert found.tokenizer_from == found.base
        assert found.template == found.base.template

    def test_base_by_path_relative_to_the_adapter(self, tiny_checkpoint, tiny_adapter, monkeypatch, tmp_path):
        base = tiny_checkpoint("models/base")
        adapter = tiny_adapter("adapters/one", base="../../models/base")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert only(adapter).base.path.resolve() == base

    def test_base_by_built_in_name(self, tiny_adapter, monkeypatch, tiny_checkpoint):
        asked = []
        monkeypatch.setattr(builtin, "find", lambda name: asked.append(name) or Path("/nowhere"))
        with pytest.raises(UnsupportedCheckpoint, match="/nowhere cannot be read as GGUF"):
            only(tiny_adapter(base="smollm2-135m"))
        assert asked == ["smollm2-135m"]

    @pytest.mark.parametrize("where", ["lora/base", "base", ".", "their-model"])
    def test_base_beside_it_when_the_path_is_of_another_machine(self, tiny_checkpoint, tiny_adapter, where):
        base = tiny_checkpoint(where)
        adapter = tiny_adapter("lora", base="/home/someone/their-model")
        assert only(adapter).base.path == base

    def test_base_as_asked_for_wins(self, tiny_checkpoint, tiny_adapter):
        named, asked = tiny_checkpoint("one"), tiny_checkpoint("two", seed=1)
        assert only(tiny_adapter(base=str(named)), base=str(asked)).base.path == asked

    def test_base_that_is_nowhere(self, tiny_adapter):
        adapter = tiny_adapter(base="/home/someone/their-model")
        refused(adapter, "names '/home/someone/their-model'.*--geoaudit-base=PATH", CheckpointNotFound)
        edit(adapter / "adapter_config.json", base_model_name_or_path="some-org/some-model")
        refused(adapter, "--geoaudit-base=PATH: .*some-org/some-model", CheckpointNotFound)

    def test_base_must_be_one_and_no_adapter(self, tiny_checkpoint, tiny_adapter, tmp_path):
        tiny_checkpoint("ckpt/step1"), tiny_checkpoint("ckpt/step2")
        adapter = tiny_adapter(base=str(tmp_path / "ckpt/step1"))
        refused(adapter, "matches 2 checkpoints", RequestError, base=f"{tmp_path}/ckpt/step*")
        other = tiny_adapter("other", base=str(tmp_path / "ckpt/step1"))
        refused(adapter, "is itself an adapter", base=str(other))

    def test_config_json_of_the_base_beside_an_adapter_is_still_an_adapter(self, tiny_checkpoint, tiny_adapter):
        base = tiny_checkpoint()
        adapter = tiny_adapter(base=str(base))
        shutil.copy(base / "config.json", adapter)
        assert only(adapter).kind == "adapter"
        shutil.copy(base / "model.safetensors", adapter)
        refused(adapter, "both a full model")

    def test_own_tokenizer_is_used_where_there_is_one(self, tiny_checkpoint, tiny_adapter, tiny_tokenizer):
        base = tiny_checkpoint()
        adapter = tiny_adapter(base=str(base))
        (base / "tokenizer.json").unlink()
        refused(adapter, f"{base} has no tokenizer")
        tiny_tokenizer.save_pretrained(adapter)
        found = only(adapter)
        assert found.tokenizer_from == found

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING adapter: it adds tokens"),
            ({"peft_type": None}, "names no peft_type"),
            ({"task_type": "SEQ_CLS"}, "only CAUSAL_LM"),
        ],
    )
    def test_kinds_that_cannot_be_audited(self, tiny_checkpoint, tiny_adapter, changes, match):
        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        edit(adapter / "adapter_config.json", **changes)
        refused(adapter, match)

    def test_pickled_or_absent_weights(self, tiny_checkpoint, tiny_adapter):
        adapter = tiny_adapter(base=str(tiny_checkpoint()))
        (adapter / "adapter_model.safetensors").unlink()
        refused(adapter, "has no adapter_model.safetensors. Save")
        (adapter / "adapter_model.bin").touch()
        refused(adapter, "only adapter_model.bin, which would have to be unpickled")


def test_resolving_and_identifying_imports_nothing_heavy(tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint()
    code = (
        "import sys; from pathlib import Path; from geoaudit.model.checkpoint import resolve; "
        "from geoaudit.model.identity import identify; from geoaudit.model.size import size; "
        "from geoaudit.model.load import resolve_device; "
        f"c = resolve({str(folder)!r})[0]; identify(c, Path({str(tmp_path / 'store')!r})); size(c); "
        "heavy = {'torch', 'numpy', 'transformers', 'peft', 'gguf', 'huggingface_hub', 'safetensors'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
    )
    assert done.stdout.strip() == "[]"
