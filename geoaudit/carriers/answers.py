"""What an edit does to answers all along: KL and likelihood at each token of answers that the model is made to give.

An edit that leaves the first token of an answer as it was may still break what comes after it. The answers are the
unedited model's own, fed to the edited one token by token (teacher forcing), so that both are read in the same places.
As in `passes`, edits share a pass, what all prompts begin with is computed once an edit, and the output head runs on
the tokens that are read only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoaudit.carriers.effects import AT_ONCE, Edited
from geoaudit.carriers.passes import by_candidate
from geoaudit.carriers.scores import Base
from geoaudit.errors import RequestError
from geoaudit.interventions.scopes import Scope
from geoaudit.model.batches import packed, shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import edited
from geoaudit.model.loaded import LoadedModel

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 16
"""Places whose logits are held together, of all edits that share a pass: vocabularies are long."""


class Answers:
    """One model, n prompts, and an answer to each of at most T tokens, as the unedited model gives it.

    Args:
        loaded: the model, without an edit.
        rendered: the prompts.
        answers: token ids of each answer, one or more; the one that ends it may be among them.

    Raises:
        RequestError: no prompt, or an answer without a token.
    """

    def __init__(self, loaded: LoadedModel, rendered: Sequence[Rendered], answers: Sequence[Sequence[int]]) -> None:
        if not rendered or len(rendered) != len(answers) or not all(answers):
            raise RequestError(f"each of {len(rendered)} prompts needs an answer of a token or more")
        self.loaded = loaded
        self.rendered = list(rendered)
        self.answers = [tuple(answer) for answer in answers]
        self.shared = shared_prefix(rendered)
        self._tokens = torch.tensor([token for answer in self.answers for token in answer])
        """[places] what was answered at each place that is read, answer after answer."""
        self._plain = self._hidden(None, np.zeros(1))

    @property
    def loss(self) -> Floats:
        """[n, T] −log p of each token of the answers without an edit, nats; NaN behind their ends."""
        rows = [_loss(self._logits(self._plain[:, each]), self._tokens[each]) for each in self._each()]
        plain: Floats = self._laid_out(torch.cat(rows, dim=1))[0]
        return plain

    def under(self, edits: Edited, doses: Floats) -> tuple[Floats, Floats]:
        """KL(base ‖ edited) of the next token and −log p of the answer's own, at each place of the answers, nats.

        Args:
            edits: C edits.
            doses: λ of each, [C].

        Returns:
            Two arrays [C, n, T], NaN behind the ends of answers. The first place is the end of the prompt, where
            `scores.kl_to_base` reads the KL too. What an edit has broken is NaN as well.
        """
        found = []
        for start in range(0, len(edits), AT_ONCE):
            part = list(range(start, min(start + AT_ONCE, len(edits))))
            found.append(self._compared(self._hidden(edits.some(part), doses[part])))
        kl, loss = (self._laid_out(torch.cat(each)) for each in zip(*found, strict=True))
        return kl, loss

    def _compared(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """KL to the unedited model and loss at each place, [C, places] each."""
        kl, loss = [], []
        for each in self._each():
            logits = self._logits(hidden[:, each])
            kl.append(Base(self._logits(self._plain[0, each])).kl(logits, range(logits.shape[1])))
            loss.append(_loss(logits, self._tokens[each]))
        return torch.cat(kl, dim=1), torch.cat(loss, dim=1)

    # --- passes -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _hidden(self, edits: Edited | None, doses: Floats) -> Tensor:
        """[C, places, d_model] normed decoder outputs from which the tokens of the answers are said."""
        loaded, copies = self.loaded, 1 if edits is None else len(edits)
        # all but the last token of an answer is fed: behind it nothing is read
        fed = [
            [*prompt.ids[self.shared :], *answer[:-1]]
            for prompt, answer in zip(self.rendered, self.answers, strict=True)
        ]
        prefix = None
        if self.shared:
            ids = torch.tensor([self.rendered[0].ids[: self.shared]] * copies, device=loaded.device)
            with self._under(edits, doses, from_start=True):
                prefix = loaded.decoder(input_ids=ids, use_cache=True).past_key_values
        found: list[Tensor | None] = [None] * len(fed)
        for part in packed([len(one) for one in fed], copies):
            width = max(len(fed[index]) for index in part)
            # any id pads: nothing before it attends to it
            tokens = torch.tensor([[*fed[index], *[fed[index][-1]] * (width - len(fed[index]))] for index in part])
            past = copy.deepcopy(prefix)
            if past is not None:
                past.batch_repeat_interleave(len(part))
            with self._under(edits, doses, from_start=not self.shared):
                outputs = loaded.decoder(
                    input_ids=tokens.repeat(copies, 1).to(loaded.device),
                    past_key_values=past,
                    use_cache=past is not None,
                )
            stream = outputs.last_hidden_state.reshape(copies, len(part), width, -1)
            for row, index in enumerate(part):
                first = len(self.rendered[index].ids) - self.shared - 1
                found[index] = stream[:, row, first : first + len(self.answers[index])].clone()
        return torch.cat([one for one in found if one is not None], dim=1)

    def _under(self, edits: Edited | None, doses: Floats, *, from_start: bool) -> AbstractContextManager[Any]:
        """The edits in effect; `from_start` where column 0 of the passes is token 0 of the prompt."""
        if edits is None:
            return edited(self.loaded, {})
        scope = Scope() if edits.layer is None else Scope((edits.layer,))
        edit = by_candidate(edits.applied(doses), len(edits), spare_first=edits.spare_first and from_start)
        return edited(self.loaded, dict.fromkeys(scope.places(self.loaded.n_layers), edit))

    @torch.no_grad()
    def _logits(self, hidden: Tensor) -> Tensor:
        """[..., d_model] to [..., vocabulary] float32 on the CPU."""
        return self.loaded.logits(hidden).float().cpu()

    def _each(self) -> list[slice]:
        """The places whose logits are held together."""
        return [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(self._tokens), ROWS_AT_ONCE)]

    def _laid_out(self, values: Tensor) -> Floats:
        """[C, places] as [C, n, T], NaN behind the ends of answers."""
        lengths = [len(answer) for answer in self.answers]
        out = np.full((len(values), len(lengths), max(lengths)), np.nan)
        for row, part in enumerate(torch.split(values.double(), lengths, dim=1)):
            out[:, row, : part.shape[1]] = part.numpy()
        return out


def _loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """−log p of a token at each place, [C, m] from logits [C, m, vocabulary] and tokens [m]; NaN where a logit is."""
    log_p = torch.log_softmax(logits, dim=-1)
    return -log_p.gather(-1, tokens[None, :, None].expand(len(logits), -1, 1))[..., 0]
