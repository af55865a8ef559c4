"""The reply-inversion task on a checkpoint: log-odds of two answers, with H or R added, beside matched controls.

A function of a bench and a need; what is read goes through the bench's store. Nothing is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.doses import matched_doses
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.controls import covariance_matched
from geoaudit.geometry.directions import BlockMeans, activation_scale, differences, null_rows
from geoaudit.measures.activations import chat_of, contrasted
from geoaudit.measures.fulfilled import Inverted
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    Cells,
    Contrast,
    Inversion,
)
from geoaudit.prompts.inversion import HARMFUL, HARMLESS, WORDINGS, worded
from geoaudit.records import digest

if TYPE_CHECKING:
    from torch import Tensor

    from geoaudit.measures.bench import Bench
    from geoaudit.measures.within import Span, Within
    from geoaudit.model.chat import Chat, Rendered

Floats = NDArray[np.float64]
_Dosed = Callable[[Floats, NDArray[np.int64]], "Tensor"]
_Kl = Callable[["Tensor"], Floats]

CONTROLS = 20
"""Of either direction: the least with which a rank p-value can reach 0.05 (1/21), and one to spare."""
CONTROL_SEED = 20250718
MATCHED_ON = 16
"""Plain harmless requests on which the doses of controls are matched."""
LEAST_SIDE = 20
"""Prompts that the model must refuse, and answer, before their difference is a direction of refusing."""
H, R = 0, 1
READ_AT: tuple[tuple[str, Contrast, int], ...] = (("H", "harmful", 0), ("R", "refused", -1))
"""What either direction is the difference of, and where: index 0 of the position axis is `t_inst`."""


def inversion(bench: Bench, need: Inversion) -> Inverted:
    """The task without an edit, with H and with R, and with the controls of either.

    Raises:
        NothingToMeasure: no such layer, no direction there, a model that refuses or answers nearly everything, or a
            tokenizer without the two answers.
    """
    chat = chat_of(bench, need.probe.chat)
    tokens = answer_tokens(chat)
    vectors, controls, cosine = _directions(bench, need)
    names = PROBE_HARMLESS, PROBE_HARMFUL
    asked, other = names if need.asked == "harmless" else names[::-1]
    edited, compared, harmless = (
        bench.prompts(Source(name[1])).first(n)
        for name, n in ((asked, need.n_validation), (other, need.n_validation), (PROBE_HARMLESS, MATCHED_ON))
    )
    requests = [prompt.text for prompt in edited.prompts]
    turns = [worded(wording, request) for wording in WORDINGS for request in requests]
    rendered, spans = _placed(chat, turns)
    beside, beside_spans = _placed(
        chat, [worded(wording, prompt.text) for wording in WORDINGS for prompt in compared.prompts]
    )
    plain, plain_spans = _placed(chat, [(prompt.text, 0, len(prompt.text)) for prompt in harmless.prompts])
    everything = [[list(one.ids) for one in group] for group in (rendered, beside, plain)]
    drawn = [digest(np.asarray(each, dtype="f4").tobytes().hex()) for each in (vectors, controls)]
    key = bench.key("inversion", everything, spans, drawn, need.layer, tokens, need.refusal_positions)
    stored = bench.get_arrays(key)
    if stored is None:
        from geoaudit.measures.within import Within

        task = Within(bench.loaded, rendered, spans, need.layer)
        whole: Within | None = None
        if need.refusal_positions == "all":
            whole = Within(bench.loaded, rendered, _everywhere(rendered), need.layer)
        quiet = Within(bench.loaded, plain, plain_spans, need.layer)
        wide = quiet if whole is None else Within(bench.loaded, plain, _everywhere(plain), need.layer)
        compared_with = Within(bench.loaded, beside, beside_spans, need.layer)
        stored = _read(bench, (task, whole or task), (quiet, wide), compared_with, vectors, controls, tokens)
        bench.put_arrays(key, stored)
    words, n = len(WORDINGS), len(requests)
    return Inverted(
        base=stored["base"].reshape(words, n),
        other=stored["other"].reshape(words, -1),
        edited=stored["edited"].reshape(2, words, n),
        controls=stored["controls"].reshape(2, -1, words, n),
        mass=stored["mass"].reshape(3, words, n),
        kl=stored["kl"],
        control_kl=stored["control_kl"],
        dose=stored["dose"],
        norm=np.linalg.norm(vectors, axis=-1),
        cosine=cosine,
        words=(HARMFUL, HARMLESS),
        prompts=(edited, compared, *(bench.prompts(Source(name[0])).first(need.probe.n_train) for name in names)),
    )


def answer_tokens(chat: Chat) -> tuple[int, int]:
    """First tokens of the answers "harmful" and "harmless".

    Raises:
        NothingToMeasure: the tokenizer knows one of them only as unknown, or begins both alike.
    """
    found = [chat.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (HARMFUL, HARMLESS)]
    if chat.tokenizer.unk_token_id in found or found[0] == found[1]:
        raise NothingToMeasure(f"the tokenizer does not tell the answers {HARMFUL!r} and {HARMLESS!r} apart")
    return int(found[0]), int(found[1])


def _directions(bench: Bench, need: Inversion) -> tuple[Floats, Floats, float]:
    """H and R as they are added [2, d], unit controls [2, CONTROLS, d], and the cosine of H and R."""
    cells = bench.fulfil(Cells(need.probe.n_train, need.probe.chat))
    for answer, did in (("refused", "refuses"), ("complied", "answers")):
        n = sum(cells.n(name) for name in cells.cells if name.endswith(answer))
        if n < LEAST_SIDE:
            raise NothingToMeasure(
                f"unidentified-beliefs: the model {did} {n} of the prompts that it was sorted by; the direction of "
                f"refusing needs {LEAST_SIDE} of each"
            )
    vectors, controls = [], []
    for index, (name, contrast, position) in enumerate(READ_AT):
        sides = contrasted(bench, need.probe, contrast, with_instruction=True)
        direction = _direction(sides, position, need.layer, name)
        frames = covariance_matched(sides, position, need.layer, direction, n=CONTROLS, seed=CONTROL_SEED + index)
        vectors.append(direction)
        controls.append(frames[:, 0])
    one, other = (vector / np.linalg.norm(vector) for vector in vectors)
    return need.coefficient * np.stack(vectors), np.stack(controls), float(one @ other)


def _direction(sides: tuple[BlockMeans, BlockMeans], position: int, layer: int, name: str) -> Floats:
    """The difference in means [d] at one site."""
    layers = sides[0].mean.shape[2] - 1
    if layer >= layers:
        raise NothingToMeasure(f"there is no layer {layer}; the checkpoint has layers 0 … {layers - 1}")
    field = differences(*sides)
    if null_rows(field, activation_scale(*sides))[position, layer]:
        raise NothingToMeasure(f"null-direction: {name} at layer {layer} is rounding noise and no direction")
    found: Floats = field[position, layer]
    return found


def _placed(chat: Chat, turns: Sequence[tuple[str, int, int]]) -> tuple[list[Rendered], list[Span]]:
    """Rendered turns, and the tokens of the request in each."""
    from geoaudit.measures.within import span_of

    rendered = [chat.render(text) for text, _, _ in turns]
    return rendered, [span_of(chat, one, *turn) for one, turn in zip(rendered, turns, strict=True)]


def _everywhere(rendered: Sequence[Rendered]) -> list[Span]:
    return [(0, len(one.ids)) for one in rendered]


def _read(
    bench: Bench,
    tasks: tuple[Within, Within],
    quiet: tuple[Within, Within],
    other: Within,
    vectors: Floats,
    controls: Floats,
    tokens: tuple[int, int],
) -> dict[str, Floats]:
    """Log-odds, mass of the two answers and KL; of H and of R each where its own `Within` adds."""
    import torch

    from geoaudit.carriers.scores import Base

    def odds(logits: Tensor, part: list[int]) -> Tensor:
        """[C, m, 2]: log-odds, and the probability of the two answers together."""
        both = logits[..., list(tokens)].double()
        mass = (both.logsumexp(dim=-1) - logits.double().logsumexp(dim=-1)).exp()
        return torch.stack([both[..., 0] - both[..., 1], mass], dim=-1)

    found: dict[str, list[Floats]] = {name: [] for name in ("edited", "mass", "controls", "kl", "control_kl", "dose")}
    done = 0
    for index in (H, R):
        base = tasks[index].plain(odds)[0].numpy()
        kl_to = Base(quiet[index].plain(lambda logits, part: logits)[0])
        vector = torch.from_numpy(vectors[index].astype(np.float32))
        units = torch.from_numpy(controls[index].astype(np.float32)) * vector.norm()

        def dosed(doses: Floats, which: NDArray[np.int64], units: Tensor = units) -> Tensor:
            return units[which] * torch.from_numpy(doses.astype(np.float32))[:, None]

        def mean_kl(added: Tensor, passes: Within = quiet[index], kl_to: Base = kl_to) -> Floats:
            mean: Floats = passes.added(added, kl_to.kl).double().numpy().mean(axis=-1)
            return mean

        own = float(mean_kl(vector[None])[0])

        def kl_of(doses: Floats, which: NDArray[np.int64], dosed: _Dosed = dosed, mean_kl: _Kl = mean_kl) -> Floats:
            return mean_kl(dosed(doses, which))

        dose, control_kl = matched_doses(kl_of, len(units), own)
        made = tasks[index].added(vector[None], odds)[0].numpy()
        beside = []
        for control in range(len(units)):
            added = dosed(dose[[control]], np.array([control]))
            beside.append(tasks[index].added(added, odds)[0, :, 0].numpy())
            done += 1
            bench.progress(done, 2 * len(units))
        found["edited"].append(made[:, 0])
        found["mass"].append(made[:, 1])
        found["controls"].append(np.stack(beside))
        found["kl"].append(np.array(own))
        found["control_kl"].append(control_kl)
        found["dose"].append(dose)
    stacked = {name: np.stack(values) for name, values in found.items()}
    return {
        **stacked,
        "base": base[:, 0],
        "mass": np.concatenate([base[None, :, 1], stacked["mass"]]),
        "other": other.plain(odds)[0, :, 0].numpy(),
    }
