from __future__ import annotations

import contextlib
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geoaudit.errors import BrokenCheckpoint, UnsupportedCheckpoint
from geoaudit.model import builtin, gguf
from geoaudit.model.checkpoint import resolve
from geoaudit.model.identity import identify
from geoaudit.model.load import load
from geoaudit.model.size import Size, size

D, HEADS, KV_HEADS, FF, LAYERS = 32, 4, 2, 64, 2
TOKENS = ["<e>", "<u>", "<a>", *(chr(c) for c in range(ord("a"), ord("z") + 1)), "Ġ", "th", "the"]
MERGES = ["t h", "th e"]
TEMPLATE = "{% for m in messages %}<u>{{ m['content'] }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"

NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
SHAPES = {
    "ffn_gate": (FF, D),
    "ffn_up": (FF, D),
    "ffn_down": (D, FF),
    "attn_q": (D, D),
    "attn_k": (D // HEADS * KV_HEADS, D),
    "attn_v": (D // HEADS * KV_HEADS, D),
    "attn_output": (D, D),
}


def write(
    path: Path, *, kind: str = "Q8_0", extra=None, arch: str = "llama", strings=None, leave_out: str = ""
) -> Path:
    """A two-layer Llama as llama.cpp's converter writes it; `kind` is how its matrices are quantised."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    rng = np.random.default_rng(0)
    quantised = GGMLQuantizationType[kind]
    tensors = {"token_embd.weight": rng.normal(size=(len(TOKENS), D)), "output_norm.weight": rng.normal(size=D)}
    for i in range(LAYERS):
        tensors |= {f"blk.{i}.{name}.weight": rng.normal(size=D) for name in ("attn_norm", "ffn_norm")}
        tensors |= {f"blk.{i}.{name}.weight": rng.normal(size=shape) for name, shape in SHAPES.items()}
    tensors |= extra or {}
    writer = GGUFWriter(path, arch)
    writer.add_context_length(64)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for key, value in (strings or {}).items():
        writer.add_string(key, value)
    for name, tensor in tensors.items():
        if name == leave_out:
            continue
        tensor = tensor.astype(np.float32)
        if tensor.ndim == 2:
            writer.add_tensor(name, quantize(tensor, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def expected(path: Path) -> dict:
    """The Hugging Face state dict of a Llama in GGUF, by the gguf package alone."""
    import torch
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(path)
    heads = {
        leaf: reader.fields[f"llama.attention.head_count{kv}"].contents()
        for leaf, kv in (("attn_q", ""), ("attn_k", "_kv"))
    }
    names = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    state = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        name = names.get(tensor.name)
        if name is None:
            _, block, leaf, _ = tensor.name.split(".")
            name = f"model.layers.{block}.{NAMES[leaf]}.weight"
            if leaf in heads:
                # llama.cpp pairs neighbouring rows for its rotary positions, Hugging Face the two halves of a head
                rows = weight.reshape(heads[leaf], weight.shape[0] // heads[leaf] // 2, 2, weight.shape[1])
                weight = rows.swapaxes(1, 2).reshape(weight.shape)
        state[name] = weight.to(torch.bfloat16)
    return state


def same(ours: dict, theirs: dict) -> bool:
    import torch

    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_header_agrees_with_the_gguf_package(tmp_path):
    from gguf import GGUFReader

    path = write(tmp_path / "m.gguf")
    ours, theirs = gguf.header(path), GGUFReader(path)
    assert ours.tensors == {tensor.name: int(tensor.n_elements) for tensor in theirs.tensors}
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata.keys() == fields.keys()
    for key, value in fields.items():
        mine = ours.metadata[key]
        assert mine.count == len(value) if isinstance(mine, gguf.Array) else mine == value
    assert (ours.model_type, ours.template) == ("llama", TEMPLATE)
    assert ours.metadata["tokenizer.ggml.token_type"].raw == b"".join(
        value.to_bytes(4, "little") for value in fields["tokenizer.ggml.token_type"]
    )


def test_resolve_identify_and_size_read_the_header_alone(tmp_path, monkeypatch):
    (tmp_path / "q").mkdir()
    path = write(tmp_path / "q" / "m.gguf")
    (found,) = resolve(str(path))
    assert (found.name, found.kind, found.path, found.model_type) == ("q/m.gguf", "gguf", path, "llama")
    assert (found.dtype, found.template) == ("bfloat16", TEMPLATE)
    assert size(found) == Size(sum(gguf.header(path).tensors.values()), LAYERS, D, len(TOKENS))
    first = identify(found, tmp_path / "store")
    assert first.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(gguf, "header", lambda path: pytest.fail("the file was read again"))
    assert identify(found, tmp_path / "store") == first


def test_identity_ignores_where_the_file_is_and_sees_its_parts(tmp_path):
    first = identify(resolve(str(write(tmp_path / "a.gguf")))[0], tmp_path / "store")
    assert identify(resolve(str(write(tmp_path / "b.gguf")))[0], tmp_path / "store") == first
    other = identify(resolve(str(write(tmp_path / "c.gguf", kind="Q4_1")))[0], tmp_path / "store")
    assert (other.config_sha256, other.tokenizer_sha256) == (first.config_sha256, first.tokenizer_sha256)
    assert other.weights_sha256 != first.weights_sha256


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16", "F32"])
def test_conversion_holds_the_dequantised_weights(tmp_path, kind):
    from safetensors.torch import load_file

    path = write(tmp_path / "m.gguf", kind=kind)
    folder = gguf.convert(path, tmp_path / "store")
    stored = load_file(folder / "model.safetensors")
    assert same(stored, expected(path))
    assert "lm_head.weight" not in stored  # tied, and kept so
    assert not list((tmp_path / "store" / "converted").glob(".*")), "nothing half made is left"
    (found,) = resolve(str(folder))  # the conversion is a checkpoint in its own right
    assert (found.kind, found.dtype, found.model_type) == ("directory", "bfloat16", "llama")


def test_converted_model_loads_and_reads_as_the_original(tmp_path):
    import torch

    path = write(tmp_path / "m.gguf")
    (found,) = resolve(str(path))
    model, tokenizer = load(found, store=tmp_path / "store", device="cpu", dtype="bfloat16")
    assert same({k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}, expected(path))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not hasattr(model.config, "quantization_config")
    assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.convert_ids_to_tokens(tokenizer("thea").input_ids) == ["the", "a"]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
    assert chat == "<u>a<e><a>"


def test_conversion_happens_once(tmp_path, monkeypatch):
    path = write(tmp_path / "m.gguf")
    folder = gguf.convert(path, tmp_path / "store")
    monkeypatch.setattr(gguf, "_convert", lambda *args: pytest.fail("converted again"))
    assert gguf.convert(path, tmp_path / "store") == folder
    renamed = path.rename(tmp_path / "other.gguf")
    assert gguf.convert(renamed, tmp_path / "store") == folder


def test_two_who_ask_at_once_share_one_conversion(tmp_path, monkeypatch):
    path = write(tmp_path / "m.gguf")
    converted = []
    convert = gguf._convert

    def counted(path, folder):
        converted.append(folder)
        time.sleep(0.2)  # long enough for the other to be waiting
        convert(path, folder)

    monkeypatch.setattr(gguf, "_convert", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: gguf.convert(path, tmp_path / "store"), range(2))
    assert first == second
    assert len(converted) == 1


def test_killed_conversion_leaves_nothing_that_counts(tmp_path, monkeypatch):
    path = write(tmp_path / "m.gguf")
    store = tmp_path / "store"

    def killed(path, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gguf, "_convert", killed)
        with pytest.raises(KeyboardInterrupt):
            gguf.convert(path, store)
    assert not list((store / "converted").iterdir())
    # kill -9 cannot clean up: what it leaves is swept away by the next conversion of the same file
    left_over = store / "converted" / f".{gguf.file_sha256(path, store)}-{gguf.CONVERSION}-abc"
    left_over.mkdir()
    assert (gguf.convert(path, store) / "model.safetensors").is_file()
    assert not left_over.exists()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        ({"arch": "mamba"}, "architecture 'mamba', which cannot be converted; known: .*llama"),
        ({"strings": {"llama.rope.scaling.type": "yarn"}}, r"scales its rotary positions \(yarn\)"),
    ],
)
def test_files_that_would_become_another_model_are_refused(tmp_path, make, match):
    path = write(tmp_path / "m.gguf", **make)
    with pytest.raises(UnsupportedCheckpoint, match=match):
        resolve(str(path))


def test_llama_3_rope_factors_are_not_dropped_silently(tmp_path):
    import numpy as np

    path = write(tmp_path / "m.gguf", extra={"rope_freqs.weight": np.ones(4)})
    with pytest.raises(UnsupportedCheckpoint, match="rope_freqs"):
        resolve(str(path))


def test_weights_that_do_not_arrive_are_broken_not_dropped(tmp_path):
    import numpy as np

    extra = write(tmp_path / "extra.gguf", extra={"blk.0.attn_q_norm.weight": np.ones(8)})
    with pytest.raises(BrokenCheckpoint, match=r"holds \d+ weights and the converted model \d+"):
        gguf.convert(extra, tmp_path / "store")
    short = write(tmp_path / "short.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(BrokenCheckpoint, match=r"1 of its tensors unfilled"):
        gguf.convert(short, tmp_path / "store")


def test_truncated_and_foreign_files(tmp_path):
    path = write(tmp_path / "m.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(UnsupportedCheckpoint, match="cannot be read as GGUF"):
        resolve(str(path))
    path.write_bytes(b"")
    with pytest.raises(UnsupportedCheckpoint, match="cannot be read as GGUF"):
        resolve(str(path))
    path.write_bytes(b"PK" + whole[2:])
    with pytest.raises(UnsupportedCheckpoint, match="it starts with b'PKUF'"):
        resolve(str(path))
    path.write_bytes(whole[:-5000])  # the header is whole, the weights are not: that shows on loading
    (found,) = resolve(str(path))
    with pytest.raises(BrokenCheckpoint, match="cannot be converted"):
        load(found, store=tmp_path / "store", device="cpu", dtype="bfloat16")


def test_conversion_is_quiet(tmp_path, capfd):
    path = write(tmp_path / "m.gguf")
    capfd.readouterr()
    gguf.convert(path, tmp_path / "store")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("whole", [True, False])
def test_conversion_leaves_the_gguf_package_as_it_was(tmp_path, whole):
    import gguf as package

    path = write(tmp_path / "m.gguf")
    if not whole:
        path.write_bytes(path.read_bytes()[:-5000])
    before = package.GGUFReader, package.get_tensor_name_map
    with contextlib.nullcontext() if whole else pytest.raises(BrokenCheckpoint):
        gguf.convert(path, tmp_path / "store")
    assert (package.GGUFReader, package.get_tensor_name_map) == before


@pytest.mark.slow
def test_built_in_model_is_converted_right(tmp_path):
    """SmolLM2-135M: all 272 tensors equal what the gguf package de-quantises, rounded once to bfloat16."""
    from safetensors.torch import load_file

    path = builtin.find("smollm2-135m")
    folder = gguf.convert(path, tmp_path / "store")
    stored = load_file(folder / "model.safetensors")
    assert len(stored) == 272
    assert same(stored, expected(path))
