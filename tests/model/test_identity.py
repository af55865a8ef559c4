from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model import identity, tensorfile
from geoaudit.model.checkpoint import resolve
from geoaudit.model.identity import identify

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}


def write_tensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict | None = None) -> None:
    """A safetensors file, written by hand so that order and metadata can be chosen."""
    header: dict = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


CONFIG = {"model_type": "llama", "hidden_size": 4, "rope_parameters": {"rope_theta": 1e4}, "dtype": "bfloat16"}


def write_folder(folder: Path, shards: list[dict], **changes) -> Path:
    folder.mkdir(parents=True)
    config = {**CONFIG, "transformers_version": "5.0.0", "_name_or_path": str(folder), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2], "transformers_version": "5.0.0"}')
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T", "name_or_path": "x"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    if len(shards) == 1:
        write_tensors(folder / "model.safetensors", shards[0])
    else:
        where = {}
        for i, shard in enumerate(shards):
            file = f"model-{i:05}-of-{len(shards):05}.safetensors"
            write_tensors(folder / file, shard, {"format": "pt"})
            where |= dict.fromkeys(shard, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def identified(path: Path, store: Path):
    return identify(resolve(str(path))[0], store)


@contextmanager
def workplace():
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@st.composite
def tensor_sets(draw):
    names = draw(st.lists(st.text("abc.0", min_size=1, max_size=6), min_size=1, max_size=6, unique=True))
    tensors = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(WIDTH)))
        shape = draw(st.lists(st.integers(1, 4), max_size=3))
        n = WIDTH[dtype]
        for length in shape:
            n *= length
        tensors[name] = (dtype, shape, draw(st.binary(min_size=n, max_size=n)))
    return tensors


@settings(max_examples=30, deadline=None)
@given(tensors=tensor_sets(), data=st.data())
def test_resharding_reordering_renaming_and_touching_change_nothing(tensors, data):
    order = data.draw(st.permutations(list(tensors)))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(order) - 1)), max_size=3)))
    bounds = [0, *(cut for cut in cuts if cut < len(order)), len(order)]
    shards = [{name: tensors[name] for name in order[a:b]} for a, b in pairwise(bounds)]
    with workplace() as place:
        first = write_folder(place / "a" / "step1", [tensors])
        other = write_folder(place / "b" / "renamed", shards, transformers_version="5.99.0")
        before = identified(first, place / "store")
        assert identified(other, place / "store") == before
        os.utime(first / "model.safetensors", (1, 1))
        assert identified(first, place / "store") == before
        shutil.move(first, place / "moved")
        assert identified(place / "moved", place / "another-store") == before


@settings(max_examples=30, deadline=None)
@given(tensors=tensor_sets(), data=st.data())
def test_any_byte_name_dtype_or_shape_changes_the_weights(tensors, data):
    name = data.draw(st.sampled_from(sorted(tensors)))
    dtype, shape, body = tensors[name]
    what = data.draw(st.sampled_from(["byte", "name", "dtype", "shape"]))
    changed = dict(tensors)
    if what == "byte":
        at = data.draw(st.integers(0, len(body) - 1))
        flipped = bytes([body[at] ^ (1 << data.draw(st.integers(0, 7)))])
        changed[name] = (dtype, shape, body[:at] + flipped + body[at + 1 :])
    elif what == "name":
        changed[name + "x"] = changed.pop(name)
    elif what == "dtype":
        changed[name] = ({"BF16": "F16", "F16": "BF16", "F32": "I32", "I64": "U64"}[dtype], shape, body)
    else:
        changed[name] = (dtype, [*shape, 1], body)
    with workplace() as place:
        before = identified(write_folder(place / "a", [tensors]), place / "store")
        after = identified(write_folder(place / "b", [changed]), place / "store")
        assert after.weights_sha256 != before.weights_sha256
        assert after.id != before.id
        assert after.config_sha256 == before.config_sha256


ONE = {"w": ("BF16", [2, 2], bytes(range(8)))}


def test_bytes_cannot_move_between_tensors():
    """Where one tensor ends and the next begins is part of the hash, though their bytes follow each other."""
    with workplace() as place:
        a = write_folder(place / "a", [{"v": ("I8", [3], b"abc"), "w": ("I8", [1], b"d")}])
        b = write_folder(place / "b", [{"v": ("I8", [1], b"a"), "w": ("I8", [3], b"bcd")}])
        assert identified(a, place / "store").weights_sha256 != identified(b, place / "store").weights_sha256


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("config_sha256", lambda f: edit(f / "config.json", hidden_size=5)),
        ("config_sha256", lambda f: edit(f / "config.json", rope_parameters={"rope_theta": 1e6})),
        ("config_sha256", lambda f: edit(f / "config.json", dtype="float32")),
        ("config_sha256", lambda f: edit(f / "generation_config.json", eos_token_id=2)),
        ("tokenizer_sha256", lambda f: (f / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0}}}')),
        ("tokenizer_sha256", lambda f: edit(f / "tokenizer_config.json", add_bos_token=True)),
        ("template_sha256", lambda f: (f / "chat_template.jinja").write_text("{{ messages }}\n")),
        ("template_sha256", lambda f: (f / "chat_template.jinja").unlink()),
    ],
)
def test_each_part_changes_its_own_hash_and_the_id(tmp_path, part, change):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    before = identified(folder, tmp_path / "store").to_json()
    change(folder)
    after = identified(folder, tmp_path / "store").to_json()
    assert {key for key in before if before[key] != after[key]} == {part, "id"}


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_only_says_who_saved_it_changes_nothing(tmp_path):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    before = identified(folder, tmp_path / "store")
    edit(folder / "config.json", transformers_version="9", _name_or_path="/elsewhere", torch_dtype="bfloat16")
    edit(folder / "generation_config.json", transformers_version="9", _from_model_config=True)
    edit(folder / "tokenizer_config.json", name_or_path="/elsewhere", is_local=False)
    (folder / "README.md").write_text("a note")
    assert identified(folder, tmp_path / "store") == before


def test_template_is_the_same_in_a_file_and_in_the_config(tmp_path):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    before = identified(folder, tmp_path / "store")
    (folder / "chat_template.jinja").unlink()
    for inline in ("{{ messages }}", [{"name": "default", "template": "{{ messages }}"}]):
        edit(folder / "tokenizer_config.json", chat_template=inline)
        assert identified(folder, tmp_path / "store") == before


def test_second_time_reads_no_weights(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    (checkpoint,) = resolve(str(folder))
    first = identify(checkpoint, tmp_path / "store")

    def refuse(*args):
        raise AssertionError("weights were read again")

    monkeypatch.setattr(identity, "_update", refuse)
    monkeypatch.setattr(tensorfile, "read", refuse)
    assert identify(checkpoint, tmp_path / "store") == first
    os.utime(folder / "model.safetensors")
    with pytest.raises(AssertionError, match="read again"):  # and the trap works
        identify(checkpoint, tmp_path / "store")


def test_file_replaced_by_one_of_its_size_and_date_is_noticed(tmp_path):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    before = identified(folder, tmp_path / "store")
    file = folder / "model.safetensors"
    stat = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert identified(folder, tmp_path / "store").weights_sha256 != before.weights_sha256


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"files": 3}', "null"])
def test_damaged_memory_is_written_anew(tmp_path, damage):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    before = identified(folder, tmp_path / "store")
    (kept,) = (tmp_path / "store" / "identity").iterdir()
    kept.write_text(damage)
    assert identified(folder, tmp_path / "store") == before
    assert json.loads(kept.read_text())["value"]["weights"] == before.weights_sha256


def test_weights_changed_while_they_were_hashed_are_not_remembered(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "ckpt", [ONE])
    (checkpoint,) = resolve(str(folder))
    update = identity._update

    def slow(hashed, tensor):
        update(hashed, tensor)
        os.utime(tensor.file, (5, 5))  # a training run saves over it

    monkeypatch.setattr(identity, "_update", slow)
    identify(checkpoint, tmp_path / "store")
    assert not (tmp_path / "store" / "identity").exists()


def test_broken_weights_are_broken_not_a_wrong_request(tmp_path):
    folder = write_folder(tmp_path / "ckpt", [{**ONE, "v": ("F32", [3], bytes(12))}])
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for damaged, why in [
        (whole[:-1], "ends at byte"),
        (whole + b"x", "promises"),
        (whole[:40], "hold no header"),
        (b"", "hold no header"),
        (b"\xff" * 100, "hold no header"),
        (whole.replace(b'"F32", "shape": [3]', b'"F32", "shape": [9]'), r"tensor 'v' \(F32, 9\) has 12 bytes"),
        (whole.replace(b'"dtype": "F32"', b'"dtypo": "F32"'), "cannot be read"),
    ]:
        file.write_bytes(damaged)
        with pytest.raises(BrokenCheckpoint, match=f"model.safetensors is not a whole safetensors file: .*{why}"):
            identified(folder, tmp_path / "store")


def test_one_tensor_in_two_shards_is_broken(tmp_path):
    folder = write_folder(tmp_path / "ckpt", [ONE, {"v": ("F32", [1], bytes(4))}])
    write_tensors(folder / "model-00001-of-00002.safetensors", {**ONE, "v": ("F32", [1], bytes(4))})
    with pytest.raises(BrokenCheckpoint, match="'w' is in two weight files"):
        identified(folder, tmp_path / "store")


def test_headers_agree_with_the_safetensors_library(tiny_checkpoint):
    import torch
    from safetensors.torch import load_file

    file = tiny_checkpoint() / "model.safetensors"
    theirs = {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in load_file(file).items()}
    whole = file.read_bytes()
    ours = tensorfile.read(file)
    assert {tensor.name: whole[tensor.start : tensor.end] for tensor in ours} == theirs
    assert {tensor.dtype for tensor in ours} == {"BF16"}


class TestAdapters:
    @pytest.fixture
    def pair(self, tiny_checkpoint, tiny_adapter):
        base = tiny_checkpoint("base")
        return base, tiny_adapter("lora", base=str(base))

    def test_id_covers_the_base(self, pair, tmp_path, tiny_checkpoint):
        base, adapter = pair
        found = identified(adapter, tmp_path / "store")
        assert found.base == identified(base, tmp_path / "store")
        assert found.tokenizer_sha256 == found.base.tokenizer_sha256
        other = tiny_checkpoint("other", seed=3)
        moved = identify(resolve(str(adapter), base=str(other))[0], tmp_path / "store")
        assert moved.weights_sha256 == found.weights_sha256
        assert moved.id != found.id

    def test_where_the_base_was_and_who_saved_it_change_nothing(self, pair, tmp_path):
        base, adapter = pair
        before = identified(adapter, tmp_path / "store")
        shutil.copytree(base, tmp_path / "elsewhere")
        settings = json.loads((adapter / "adapter_config.json").read_text())
        edit(
            adapter / "adapter_config.json",
            base_model_name_or_path=str(tmp_path / "elsewhere"),
            peft_version="9.9",
            target_modules=settings["target_modules"][::-1],
        )
        assert identified(adapter, tmp_path / "store") == before

    def test_its_scale_changes_the_id(self, pair, tmp_path):
        _, adapter = pair
        before = identified(adapter, tmp_path / "store")
        edit(adapter / "adapter_config.json", lora_alpha=8)
        assert identified(adapter, tmp_path / "store").id != before.id

    def test_copy_of_the_bases_tokenizer_changes_nothing(self, pair, tmp_path):
        base, adapter = pair
        before = identified(adapter, tmp_path / "store")
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(base / name, adapter)
        assert identified(adapter, tmp_path / "store") == before
        (adapter / "chat_template.jinja").write_text("{{ messages[0].content }}")
        after = identified(adapter, tmp_path / "store")
        assert after.template_sha256 != before.template_sha256
        assert after.base == before.base
