"""Is the weight form of an ablation the hook form? Completions of a real model, and the logit gap of every family.

    python tests/tools/weight_form.py [--model SPEC] [--data DIR] [--n 50] [--tokens 16] [--dtype float32] [--families]

For the model: its refusal direction (difference in means at the last token, a block input in the middle) is ablated
at every site by hooks, in a copy's weights and by a saved adapter, and the greedy completions of n harmful prompts are
compared: HarmBench's standard behaviours where DIR (a folder with `harmbench/` in it) is given, else the built-in set.
`--families` leaves the model out. For every family: tiny random models (`tests.model.families`), one direction, the gap
at the last token.

No text of a prompt or a completion is printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from geoaudit.interventions.adapter import save_adapter
from geoaudit.interventions.applying import applied
from geoaudit.interventions.edits import ablate_subspace
from geoaudit.interventions.scopes import Scope
from geoaudit.interventions.weights import LogitGap, is_exact, logit_gap, orthogonalised
from geoaudit.model.activations import last_token
from geoaudit.model.batches import plan
from geoaudit.model.chat import Chat, Rendered
from geoaudit.model.checkpoint import resolve
from geoaudit.model.generate import complete
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_prompts
from tests.model.families import FAMILIES, PROMPTS, tiny_loaded

N_TRAIN = 32
"""Prompts a class that the direction is made of."""


def opened(spec: str, dtype: str) -> LoadedModel:
    """A model on the CPU."""
    (checkpoint,) = resolve(spec)
    model, tokenizer = load(checkpoint, store=user_cache_path("geoaudit"), device="cpu", dtype=dtype)
    return LoadedModel(model, tokenizer, Chat(tokenizer))


def refusal_direction(loaded: LoadedModel) -> Tensor:
    """The unit difference in means at position −1 of the middle layer's input, [1, d_model]."""
    means = []
    for name in ("probe-harmful-train", "probe-harmless-train"):
        prompts = [loaded.chat.render(prompt.text) for prompt in load_prompts(name).first(N_TRAIN).prompts]
        means.append(last_token(loaded, prompts, [("resid_pre", loaded.n_layers // 2)]).mean(dim=0))
    difference = means[0] - means[1]
    return difference / difference.norm()


def completions(loaded: LoadedModel, prompts: list[Rendered], new: int) -> list[str]:
    """Greedy ones, in the order of the prompts."""
    texts = [""] * len(prompts)
    for batch in plan([len(prompt.ids) for prompt in prompts], new, rows=16):
        made = complete(loaded, [prompts[i] for i in batch], [str(i) for i in batch], max_new_tokens=new)
        for i, one in zip(batch, made, strict=True):
            texts[i] = one.text
    return texts


def with_adapter(spec: str, dtype: str, basis: Tensor) -> LoadedModel:
    """The base with the saved adapter, loaded anew."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import PeftModel

        base = opened(spec, dtype)
        save_adapter(base, basis, Path(folder, "adapter"))
        model = PeftModel.from_pretrained(base.model, str(Path(folder, "adapter")), autocast_adapter_dtype=False)
        return LoadedModel(model.eval(), base.tokenizer, base.chat)


def gap_line(name: str, exact: str, gap: LogitGap) -> str:
    """One row of a table."""
    return (
        f"{name:22}{exact:13}{gap.n:4}{gap.largest:11.2g}{gap.rms:11.2g}{gap.moved:9.2g}"
        f"{gap.rms / gap.moved:11.1%}{gap.kl:11.2g}{gap.same_token:5}/{gap.n}"
    )


HEAD = (
    f"{'':22}{'':13}{'n':>4}{'largest':>11}{'rms':>11}{'moved':>9}{'rms/moved':>11}{'KL, nats':>11}{'same token':>12}\n"
    "(logits of the next token, weight form against hook form; moved: rms of what the hooks change)"
)


def one_model(options: argparse.Namespace) -> None:
    """Completions and gap of a real model."""
    loaded = opened(options.model, options.dtype)
    basis = refusal_direction(loaded)
    source = "harmbench-standard" if options.data else "harmful"
    prompts = load_prompts(source, data=options.data).first(options.n).prompts
    rendered = [loaded.chat.render(prompt.text) for prompt in prompts]
    print(f"{options.model}, {options.dtype}: {len(rendered)} prompts of {source}, {options.tokens} new tokens")
    plain = completions(loaded, rendered, options.tokens)
    with applied(loaded, lambda x: ablate_subspace(x, basis), Scope()):
        hooks = completions(loaded, rendered, options.tokens)
    copy = orthogonalised(loaded, basis, approximate=True)
    forms = {"copy": copy, "adapter": with_adapter(options.model, options.dtype, basis)}
    print(f"  no edit and hooks: same completion for {count(plain, hooks)}")
    print(HEAD)
    for name, form in forms.items():
        texts = completions(form, rendered, options.tokens)
        gap = logit_gap(loaded, form, basis, rendered)
        print(gap_line(name, "exact" if is_exact(loaded) else "approximate", gap))
        print(f"  {name} and hooks: same completion for {count(texts, hooks)}")


def count(ours: list[str], theirs: list[str]) -> str:
    """How many of two lists of texts are the same."""
    return f"{sum(a == b for a, b in zip(ours, theirs, strict=True))} of {len(ours)}"


def families() -> None:
    """The gap table of tiny random models."""
    print(HEAD)
    for name in FAMILIES:
        loaded = tiny_loaded(name)
        r = torch.randn(1, loaded.d_model, generator=torch.Generator().manual_seed(5))
        basis = r / r.norm()
        edited = orthogonalised(loaded, basis, approximate=True)
        gap = logit_gap(loaded, edited, basis, [loaded.chat.render(text) for text in PROMPTS])
        print(gap_line(name, "exact" if is_exact(loaded) else "approximate", gap))


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, help="folder with harmbench/ in it")
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--families", action="store_true", help="the tiny models only")
    options = parser.parse_args()
    began = time.perf_counter()
    families()
    if not options.families:
        one_model(options)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
