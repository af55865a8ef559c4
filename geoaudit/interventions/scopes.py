"""Where and when an edit applies: sites, positions, and whether to the prompt or to the answer.

A noun only, without torch: a plan names scopes before anything is loaded. `geoaudit.interventions.applying` puts them
into effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from geoaudit.errors import RequestError, UnknownName

if TYPE_CHECKING:
    from geoaudit.model.chat import Chat, Rendered
    from geoaudit.model.hooks import Place

Positions = Literal["all", "all_but_first", "instruction", "template"]
During = Literal["prompt_and_answer", "prompt", "answer"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The positions that an edit changes. The default is that of directional ablation (Arditi et al. 2024).

    Raises:
        RequestError: no layers, a layer twice or below 0, or a combination that holds no position.
        UnknownName: positions or a phase that do not exist.
    """

    layers: Literal["every_site"] | tuple[int, ...] = "every_site"
    """`every_site`: wherever the stream is written, which is the embedding and every attention and MLP output; the
    input of a block is their sum and needs no edit of its own. Or layers: the input of these blocks (paper 1's
    pre-hook)."""
    positions: Positions = "all"
    """`instruction`: the tokens that hold a character of the instruction. `template`: the post-instruction tokens, up
    to the end of the prompt. What stands before the instruction (BOS, system prompt) is in neither. `all_but_first`
    spares token 0 of the prompt, the attention sink."""
    during: During = "prompt_and_answer"
    """`prompt`: prefill only. `answer`: only tokens that the model made, and those of a prefilled answer; the first
    token of an answer is chosen at the last token of the prompt, which belongs to the prompt."""

    def __post_init__(self) -> None:
        for kind, got, known in (("positions", self.positions, Positions), ("phase", self.during, During)):
            if got not in get_args(known):
                raise UnknownName.among(kind, got, get_args(known))
        layers: Any = self.layers
        if isinstance(layers, str):
            if layers != "every_site":
                raise UnknownName.among("layers", layers, ("every_site",))
        elif not layers or len(set(layers)) < len(layers) or min(layers) < 0:
            raise RequestError(f"layers are one or more different numbers from 0 on; got {layers}")
        if self.during == "answer" and self.positions in ("instruction", "template"):
            raise RequestError(
                f"an answer has no {self.positions} tokens, so this edit would change nothing: take during='prompt'"
            )

    @property
    def everything(self) -> bool:
        """Whether every position of every pass is edited, so that nothing has to be known of them."""
        return self.positions == "all" and self.during == "prompt_and_answer"

    @property
    def answer(self) -> bool:
        """Whether tokens that the model made are edited."""
        return self.during != "prompt" and self.positions in ("all", "all_but_first")

    def places(self, n_layers: int) -> list[Place]:
        """The places of a model with that many layers."""
        if self.layers != "every_site":
            return [("resid_pre", layer) for layer in self.layers]
        written: list[Place] = [("resid_pre", 0)]
        for layer in range(n_layers):
            written += [("attn_out", layer), ("mlp_out", layer)]
        return written

    def tokens(self, chat: Chat, prompt: Rendered) -> list[bool]:
        """Which tokens of a rendered prompt are edited, prefilled ones included: one a token of `prompt.ids`."""
        n = len(prompt.ids)
        of_prompt = range(n - prompt.n_prefill)
        if self.during == "prompt":
            when = set(of_prompt)
        elif self.during == "answer":
            when = set(range(len(of_prompt), n))
        else:
            when = set(range(n))
        if self.positions == "instruction":
            where = range(instruction_start(chat, prompt), prompt.t_inst + 1)
        elif self.positions == "template":
            where = of_prompt[prompt.t_inst + 1 :]
        else:
            where = range(self.positions == "all_but_first", n)
        return [place in when and place in where for place in range(n)]


def instruction_start(chat: Chat, prompt: Rendered) -> int:
    """The first token of a rendered prompt that holds a character of its instruction (`t_inst` is the last)."""
    frame = chat.rendered_template
    before = frame[: frame.index("{instruction}")]
    encoding = chat.tokenizer(prompt.text, add_special_tokens=False, return_offsets_mapping=True)
    if tuple(encoding["input_ids"]) == prompt.ids[: len(prompt.ids) - prompt.n_prefill]:
        start = len(before)
        # byte-level tokenizers report a token of blanks as an empty span at its end
        spans = enumerate(encoding["offset_mapping"])
        return next((place for place, (_, end) in spans if end > start), prompt.t_inst)
    # a format without turns: what begins a text does not have to be what its text is read as
    own: list[int] = chat.tokenizer(prompt.text[len(before) :], add_special_tokens=False)["input_ids"]
    return prompt.t_inst + 1 - len(own)
