"""What a checkpoint's folder holds, checked without loading anything.

Everything that can be wrong with a folder before its weights are read is found here and said in one sentence:
no config, pickled weights, unmerged shards of a parallel run, missing shard files, no tokenizer, code to be trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoaudit.errors import CheckpointNotFound, UnsupportedCheckpoint
from geoaudit.model import architecture

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
TOKENIZER_CONFIG = "tokenizer_config.json"

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Suffixes of weights that would have to be unpickled, which runs whatever code is in them."""

_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("spiece.model",), ("vocab.json", "merges.txt"))
"""Each a set of files that is a whole tokenizer."""

_TOKENIZER_EXTRAS = ("added_tokens.json", "special_tokens_map.json")

_PROMPT_LEARNING = frozenset(
    {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "ADAPTION_PROMPT", "XLORA", "POLY"}
)
"""PEFT types that add virtual tokens or route between experts: positions and edits would not mean what they say."""

_TO_SAFETENSORS = (
    "If you trust where it comes from, convert it once: "
    'python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained({folder!r}).save_pretrained('converted')\""
)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; NaN and Infinity come back as text.

    Raises:
        UnsupportedCheckpoint: not readable, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)
    except (OSError, ValueError) as error:
        raise UnsupportedCheckpoint(f"{path} cannot be read as JSON: {error}. Save the checkpoint again") from error
    if not isinstance(value, dict):
        raise UnsupportedCheckpoint(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def is_adapter(folder: Path) -> bool:
    """Whether the folder is a PEFT adapter. Some trainers put the base's `config.json` beside it: still an adapter.

    Raises:
        UnsupportedCheckpoint: an adapter and a full model lie in the same folder, and either could be meant.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        raise UnsupportedCheckpoint(
            f"{folder} holds both a full model ({WEIGHTS}) and an adapter ({ADAPTER_CONFIG}), and either could be "
            "meant. Move the adapter's files into a folder of their own"
        )
    return True


def config(folder: Path) -> dict[str, Any]:
    """`config.json`, checked: a model type, nothing that needs code from the checkpoint, no packed weights.

    Raises:
        UnsupportedCheckpoint: missing, broken, or of a kind that cannot be audited.
        UnknownArchitecture: the model type is not in the architecture table.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UnsupportedCheckpoint(f"{folder} has no {CONFIG}{_what_is_there(folder)}")
    settings = read_json(path)
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise UnsupportedCheckpoint(f"{path} names no model_type (got {model_type!r}). Save the checkpoint again")
    _check_code(path, settings, model_type)
    architecture.check_model_type(model_type)
    if quantization := settings.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise UnsupportedCheckpoint(
            f"{folder} is stored quantised ({method}). Directions and edits are defined on floating weights: "
            "save it de-quantised (model.dequantize(), then save_pretrained)"
        )
    if "transformers_weights" in settings:
        raise UnsupportedCheckpoint(
            f"{path} sends transformers to weights of another name ({settings['transformers_weights']!r}). "
            f"Rename that file to {WEIGHTS} and delete the key"
        )
    return settings


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a full model, in the order of their names.

    Raises:
        UnsupportedCheckpoint: there are none, or the index names files that are not there.
    """
    sharded_by_rank = sorted(folder.glob("shard-*-model-*-of-*.safetensors"))
    if sharded_by_rank:
        raise UnsupportedCheckpoint(
            f"{folder} holds one rank's shards ({sharded_by_rank[0].name}). Load it with transformers where it was "
            "trained and call save_pretrained without distributed checkpointing"
        )
    if (folder / WEIGHTS).is_file():
        files = [folder / WEIGHTS]
    elif (folder / INDEX).is_file():
        files = _shards(folder)
    else:
        raise UnsupportedCheckpoint(_why_no_weights(folder))
    return [_no_pointer(file) for file in files]


def adapter(folder: Path) -> tuple[dict[str, Any], Path]:
    """`adapter_config.json`, checked, and the adapter's weights.

    Raises:
        UnsupportedCheckpoint: broken, pickled, or of a kind that cannot be audited.
    """
    path = folder / ADAPTER_CONFIG
    settings = read_json(path)
    kind = settings.get("peft_type")
    if not isinstance(kind, str) or not kind:
        raise UnsupportedCheckpoint(f"{path} names no peft_type (got {kind!r}). Save the adapter again with PEFT")
    if kind in _PROMPT_LEARNING:
        raise UnsupportedCheckpoint(
            f"{folder} is a {kind} adapter: it adds tokens or routes, so that layers and positions do not mean what "
            "they say. Pass an adapter that changes weights (LoRA and its kin), or a merged model"
        )
    if settings.get("task_type") not in (None, "CAUSAL_LM"):
        raise UnsupportedCheckpoint(f"{folder} was trained for {settings['task_type']}; only CAUSAL_LM can be audited")
    file = folder / ADAPTER_WEIGHTS
    if file.is_file():
        return settings, _no_pointer(file)
    pickled = sorted(folder.glob("adapter_model.bin"))
    raise UnsupportedCheckpoint(
        f"{folder} has no {ADAPTER_WEIGHTS}"
        + (
            f", only {pickled[0].name}, which would have to be unpickled. If you trust where it comes from, load it "
            "with PEFT and call save_pretrained, which writes safetensors"
            if pickled
            else ". Save the adapter with PEFT's save_pretrained"
        )
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a whole tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS)


def check_tokenizer(folder: Path) -> None:
    """Raise UnsupportedCheckpoint, naming the files, unless the folder holds a whole tokenizer."""
    if has_tokenizer(folder):
        if (folder / TOKENIZER_CONFIG).is_file():
            read_json(folder / TOKENIZER_CONFIG)
        return
    parts = [name for names in _TOKENIZERS if len(names) > 1 for name in names]
    there = [name for name in parts if (folder / name).is_file()]
    absent = [name for name in parts if name not in there]
    half = f" ({', '.join(there)} is there, {', '.join(absent)} is not)" if there else ""
    wanted = ", ".join(" with ".join(names) for names in _TOKENIZERS)
    raise UnsupportedCheckpoint(
        f"{folder} has no tokenizer: none of {wanted}{half}. Save the one it was trained with: "
        f"AutoTokenizer.from_pretrained(BASE).save_pretrained({str(folder)!r})"
    )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that decide how text becomes ids: `tokenizer.json` where there is one, else the files it replaces."""
    for names in _TOKENIZERS:
        files = [folder / name for name in names]
        if all(file.is_file() for file in files):
            return files + [folder / name for name in _TOKENIZER_EXTRAS if (folder / name).is_file()]
    return []


def template_files(folder: Path) -> list[Path]:
    """Chat templates in files of their own."""
    files = [folder / TEMPLATE, *sorted((folder / MORE_TEMPLATES).glob("*.jinja"))]
    return [file for file in files if file.is_file()]


def template(folder: Path) -> str | dict[str, str] | None:
    """The chat template (or, where there are several, each by name) as transformers 5 would take it; None if none.

    Files win over `tokenizer_config.json`, as in `PreTrainedTokenizerBase.from_pretrained`.
    """
    found: Any = None
    if files := template_files(folder):
        found = {"default" if f.name == TEMPLATE else f.stem: f.read_text(encoding="utf-8") for f in files}
    elif (folder / TOKENIZER_CONFIG).is_file():
        found = read_json(folder / TOKENIZER_CONFIG).get("chat_template")
        if isinstance(found, list):
            found = {str(one.get("name")): str(one.get("template")) for one in found if isinstance(one, dict)}
    if isinstance(found, dict) and list(found) == ["default"]:
        return str(found["default"])
    return found or None


def _check_code(path: Path, settings: Mapping[str, Any], model_type: str) -> None:
    """Refuse a checkpoint that runs on its own code, unless transformers ships that very class (as for Phi-3)."""
    auto_map = settings.get("auto_map")
    if not auto_map:
        return
    code = auto_map.get("AutoModelForCausalLM") if isinstance(auto_map, dict) else None
    ours = model_type.removesuffix("_text").replace("_", "") + "forcausallm"
    if model_type in architecture.TABLE and isinstance(code, str) and code.rpartition(".")[2].lower() == ours:
        return
    raise UnsupportedCheckpoint(
        f"{path} asks for code of the checkpoint's own to be run (auto_map: {code or auto_map}), and geoaudit never "
        "does that (trust_remote_code is off). Pass a version of the model that transformers itself implements"
    )


def _shards(folder: Path) -> list[Path]:
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise UnsupportedCheckpoint(f"{folder / INDEX} has no weight_map. Save the checkpoint again")
    names = sorted({str(name) for name in where.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise UnsupportedCheckpoint(f"{folder / INDEX} names a file outside its folder: {outside[0]!r}")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise UnsupportedCheckpoint(
            f"{folder} lacks {len(absent)} of the {len(names)} weight files that {INDEX} names: "
            f"{', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}. Finish the copy, or save the checkpoint again"
        )
    return [folder / name for name in names]


def _no_pointer(file: Path) -> Path:
    """The file itself, unless it is the stand-in that git-lfs leaves for it."""
    with file.open("rb") as opened:
        if opened.read(40).startswith(b"version https://git-lfs"):
            raise UnsupportedCheckpoint(f"{file} is a git-lfs pointer, not the weights: run `git lfs pull` there")
    return file


def _why_no_weights(folder: Path) -> str:
    """One sentence: what is there in place of safetensors, and the command that makes them of it."""
    fsdp = sorted(folder.glob("pytorch_model_fsdp_*/")) + sorted({file.parent for file in folder.rglob("*.distcp")})
    if fsdp:
        return (
            f"{folder} holds the unmerged shards of an FSDP run ({fsdp[0].name}). Merge them: "
            f"accelerate merge-weights {fsdp[0]} {folder}"
        )
    if (folder / "zero_to_fp32.py").is_file() or any(folder.glob("global_step*")):
        return (
            f"{folder} holds the unmerged shards of a DeepSpeed ZeRO run. Merge them there: "
            "python zero_to_fp32.py . . --safe_serialization"
        )
    pickled = [file for file in sorted(folder.iterdir()) if file.suffix in PICKLES and file.stem != "training_args"]
    if pickled:
        return (
            f"{folder} has no safetensors, only {pickled[0].name}, which would have to be unpickled and may run any "
            f"code. {_TO_SAFETENSORS.format(folder=str(folder))}"
        )
    return f"{folder} has no weights: neither {WEIGHTS} nor {INDEX}. Save the model there with save_pretrained"


def _what_is_there(folder: Path) -> str:
    """The end of the sentence that says what a folder without a config is instead."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CheckpointNotFound(f"{folder} cannot be read: {error}") from error
    for entry in entries:
        if (entry / CONFIG).is_file() or (entry / ADAPTER_CONFIG).is_file():
            return f", but checkpoints below it, such as {entry.name}: pass {str(entry)!r}, or '{folder}/*' for all"
    for entry in entries:
        if entry.suffix == ".gguf":
            return f", but {entry.name}: pass {str(entry)!r}"
    if (folder / "zero_to_fp32.py").is_file() or any(folder.glob("pytorch_model_fsdp_*")):
        return f". {_why_no_weights(folder)}, and copy the base's {CONFIG} and tokenizer beside them"
    return ". Pass the folder that save_pretrained wrote"
