"""Loading a checkpoint into memory, and refusing what turns out to be broken only then."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.errors import BrokenCheckpoint, RequestError, UnknownName
from geoaudit.model import folder, gguf, tensorfile
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.quiet import no_progress_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
"""What a model can be computed in."""

_DEVICE = re.compile(r"cpu|mps|(?:cuda|xpu)(?::\d+)?")
_NODES = ("nvidiactl", "nvidia0", "dxg", "kfd", "dri", "accel")
"""Under /dev: NVIDIA, Windows' Linux subsystem, AMD, Intel. Without any there is no accelerator for torch to find."""

_BLOCK = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")


def resolve_device(asked: str) -> str:
    """The device that `auto` means here, or `asked` itself; imports torch only where there may be an accelerator.

    Raises:
        UnknownName: not a device's name.
    """
    if asked != "auto":
        if not _DEVICE.fullmatch(asked):
            raise UnknownName.among("device", asked, ("auto", "cpu", "cuda", "cuda:N", "mps", "xpu", "xpu:N"))
        return asked
    if sys.platform.startswith("linux") and not any(Path("/dev", node).exists() for node in _NODES):
        return "cpu"
    import torch

    for name, backend in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.backends.mps)):
        if backend.is_available():
            return name
    return "cpu"


def load(
    checkpoint: Checkpoint,
    *,
    store: Path,
    device: str,
    dtype: str,
    base: PreTrainedModel | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer, ready to be read: on `device`, in `dtype`, in eval mode, without gradients.

    Safetensors only; nothing is fetched from the hub and no code of the checkpoint is run. An adapter comes as a
    `PeftModel` around its base, not merged. A GGUF file is converted into `store` the first time. Warnings of
    transformers go to its logger and to `warnings`, for the caller to keep.

    Args:
        checkpoint: what `resolve` found.
        store: folder for conversions.
        device: a device's name, from `resolve_device`.
        dtype: one of `DTYPES`.
        base: the model in memory that the weights are those of, or that the adapter is put into (`load_base`); None:
            it is read.
        tokenizer: the checkpoint's, where it was read before.

    Raises:
        BrokenCheckpoint: truncated files, missing or misshapen weights, NaN or infinite values.
        RequestError: the device is not there, or the dtype is not one of `DTYPES`.
    """
    model: Any = base
    if model is None:
        model = load_base(checkpoint.base or checkpoint, store=store, device=device, dtype=dtype)
    with no_progress_bars():
        if checkpoint.base is not None:
            model = _with_adapter(model, checkpoint)
        if tokenizer is None:
            tokenizer = load_tokenizer(checkpoint, store=store)
    model.requires_grad_(False)
    model.eval()
    model.to(device)
    _check_finite(checkpoint, model.named_parameters(), dtype)
    return model, tokenizer


def load_base(checkpoint: Checkpoint, *, store: Path, device: str, dtype: str) -> PreTrainedModel:
    """The weights of a checkpoint that is no adapter, in memory and not yet ready to be read: for `load`.

    Raises:
        BrokenCheckpoint, RequestError: as `load`, but for values that are no numbers.
    """
    if dtype not in DTYPES:
        raise UnknownName.among("dtype", dtype, DTYPES)
    check_device(device)
    with no_progress_bars():
        model: PreTrainedModel = _model(checkpoint, store, dtype)
    return model


def load_tokenizer(checkpoint: Checkpoint, *, store: Path) -> PreTrainedTokenizerBase:
    """The tokenizer alone, with the checkpoint's chat template; a GGUF file is converted into `store` the first time.

    Raises:
        BrokenCheckpoint: the tokenizer's files, or those of the GGUF conversion, cannot be read.
    """
    from transformers import AutoTokenizer

    source = checkpoint.tokenizer_from
    path = _files(source, store)
    config = _config(_files(checkpoint.base or checkpoint, store))
    try:
        # with the model's config: a folder with an adapter has none, and the search for one goes to the hub
        tokenizer = AutoTokenizer.from_pretrained(path, config=config, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # from the tokenizers library as from transformers, of any class
        raise BrokenCheckpoint(f"the tokenizer in {path} does not load: {_line(error)}") from error
    if checkpoint.base is not None:  # its tokenizer and its template may come from two places
        tokenizer.chat_template = checkpoint.template
    return tokenizer


def check_device(device: str) -> None:
    """Whether a device is there; imports torch for any but the CPU.

    Raises:
        UnknownName: not a device's name.
        RequestError: torch sees no such device here.
    """
    resolve_device(device)
    kind = device.partition(":")[0]
    if kind == "cpu":
        return
    import torch

    backend: Any = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    n = 1 if kind == "mps" else backend.device_count()
    if not backend.is_available() or int(device.partition(":")[2] or 0) >= n:
        raise RequestError(f"device {device!r} was asked for, and torch sees no such device here: use 'auto' or 'cpu'")


def _files(checkpoint: Checkpoint, store: Path) -> Path:
    """The folder with the files of a checkpoint, which for GGUF is the conversion."""
    return gguf.convert(checkpoint.path, store) if checkpoint.kind in ("gguf", "builtin") else checkpoint.path


def _model(checkpoint: Checkpoint, store: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    path = _files(checkpoint, store)
    for file in folder.weights(path):
        tensorfile.read(file)  # says which file is truncated; transformers would only say that something is
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=_config(path),
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name, in place of an exception with a table
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenCheckpoint(f"{path} does not load: {_line(error)}") from error
    _check_complete(path, info, model.config)
    return model


def _config(path: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its validators raise classes of their own
        raise BrokenCheckpoint(
            f"{path / folder.CONFIG} is not a config that transformers takes: {_line(error)}"
        ) from error


def _check_complete(path: Path, info: Mapping[str, Any], config: Any) -> None:
    """Raise BrokenCheckpoint where the weights and the config do not make one model. Tied weights are not missed."""
    if mismatched := sorted(info["mismatched_keys"]):
        name, got, wanted = mismatched[0]
        raise BrokenCheckpoint(
            f"{len(mismatched)} tensors in {path} do not have the shapes that {folder.CONFIG} asks for, such as "
            f"{name}: {list(got)} in place of {list(wanted)}. Config and weights are of two models"
        )
    if missing := sorted(info["missing_keys"]):
        raise BrokenCheckpoint(
            f"{len(missing)} tensors are missing in {path}, such as {missing[0]}: they would be random. "
            "Save the checkpoint again"
        )
    n_layers = config.get_text_config().num_hidden_layers
    beyond = sorted(
        name for name in info["unexpected_keys"] if (block := _BLOCK.search(name)) and int(block[1]) >= n_layers
    )
    if beyond:
        raise BrokenCheckpoint(
            f"{path} holds weights of blocks that {folder.CONFIG} does not ask for (num_hidden_layers = {n_layers}), "
            f"such as {beyond[0]}: they would be left out"
        )


def _with_adapter(model: Any, checkpoint: Checkpoint) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    _, file = folder.adapter(checkpoint.path)
    saved = {tensor.name for tensor in tensorfile.read(file)}
    base = checkpoint.base.path if checkpoint.base is not None else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # an error below, by name
            # PEFT asks transformers for a name that transformers 5.23 calls deprecated
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            # `autocast_adapter_dtype` would compute a bfloat16 adapter in float32, and so another model
            adapted = PeftModel.from_pretrained(
                model, str(checkpoint.path), is_trainable=False, autocast_adapter_dtype=False, torch_device="cpu"
            )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BrokenCheckpoint(
            f"the adapter {checkpoint.path} does not fit its base {base}: {_line(error)}. "
            "Pass the base it was trained on with --geoaudit-base"
        ) from error
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    missing = sorted(expected - saved)
    unused = sorted(saved - expected - set(adapted.state_dict()))
    if missing or unused:
        what = f"{len(missing)} tensors are missing, such as {missing[0]}" if missing else ""
        what += f"{'; ' if what and unused else ''}{len(unused)} find no place, such as {unused[0]}" if unused else ""
        raise BrokenCheckpoint(
            f"the adapter {checkpoint.path} does not fit its base {base}: {what}. "
            "Pass the base it was trained on with --geoaudit-base"
        )
    return adapted


def _check_finite(checkpoint: Checkpoint, parameters: Iterable[tuple[str, Any]], dtype: str) -> None:
    for name, parameter in parameters:
        if not parameter.is_floating_point():
            continue
        finite = parameter.isfinite()
        if not finite.all():
            n = parameter.numel() - int(finite.sum())
            cast = f" as {dtype} (stored in {checkpoint.dtype})" if dtype != checkpoint.dtype else ""
            raise BrokenCheckpoint(
                f"{checkpoint.name}: tensor {name} has {n} NaN or infinite values of {parameter.numel()}{cast}. "
                "Save the checkpoint again, from before the training diverged"
            )


def _line(error: Exception) -> str:
    """The first line of an exception's message, with its class."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
