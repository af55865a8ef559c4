"""Scores of an edit from next-token logits: refusal metric and KL, exactly as in the refusal-direction reference.

Logits are taken at the last position of the prompt. Everything is computed in float64, on the device of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoaudit.errors import RequestError

METRIC_EPSILON = 1e-8
"""Added to both probabilities of the refusal metric, which is therefore bounded by ±18.42 nats (reference)."""

KL_EPSILON = 1e-6
"""Added inside both logarithms of the KL (reference). It moves the value in the fourth to sixth digit."""


def refusal_metric(logits: Tensor, token_ids: Sequence[int]) -> Tensor:
    """Log-odds of the refusal tokens as next token, log(P + 1e-8) − log(1 − P + 1e-8), in nats.

    P is the softmax probability of all of them together (Arditi et al. 2024, appendix B). Above 0: a refusal token is
    likelier than not. A NaN among the logits gives NaN.

    Args:
        logits: [..., n, vocabulary], any floating dtype.
        token_ids: the refusal tokens, each once.

    Returns:
        float64 [..., n], in [−18.43, 18.43].

    Raises:
        RequestError: no token, one that is outside the vocabulary, or one named twice (it would count twice).
    """
    ids = list(token_ids)
    if not ids or len(set(ids)) != len(ids) or not all(0 <= i < logits.shape[-1] for i in ids):
        raise RequestError(f"refusal tokens must be distinct ids in [0, {logits.shape[-1]}), got {ids}")
    rows = logits.reshape(-1, logits.shape[-1])
    each = [torch.softmax(row.double(), dim=-1)[ids].sum() for row in rows]  # one by one, as in `Base.kl`
    refusal = torch.stack(each).reshape(logits.shape[:-1]) if each else logits.new_zeros(logits.shape[:-1]).double()
    return torch.log(refusal + METRIC_EPSILON) - torch.log(1 - refusal + METRIC_EPSILON)


class Base:
    """The unedited model's next-token distributions on n prompts, which edited ones are compared with.

    Args:
        logits: [n, vocabulary].
    """

    def __init__(self, logits: Tensor) -> None:
        self._p = torch.softmax(logits.double(), dim=-1)
        self._log = torch.log(self._p + KL_EPSILON)
        within = (self._p / (self._p + KL_EPSILON)).sum(dim=-1)
        self.least_kl: Tensor = -torch.log1p(KL_EPSILON * within)
        """[n] float64, just below 0: no distribution has a smaller KL (with these epsilons) to the unedited one."""

    def kl(self, edited_logits: Tensor, prompts: Sequence[int]) -> Tensor:
        """KL(base || edited) of the next-token distribution, Σ p (log(p + 1e-6) − log(q + 1e-6)), in nats.

        p is the unedited model's distribution, q the edited one's. The epsilons keep a suppressed token (logit −inf)
        from making it infinite; they also let it fall below 0, by Jensen's inequality not below `least_kl`:
        KL ≥ −log Σ p (q + ε)/(p + ε) ≥ −log(1 + ε Σ p/(p + ε)).

        Args:
            edited_logits: [..., m, vocabulary].
            prompts: the m prompts, in that order.

        Returns:
            float64 [..., m]; NaN where a logit is.

        Raises:
            RequestError: another number of prompts, or another vocabulary.
        """
        index = list(prompts)
        if edited_logits.shape[-2:] != (len(index), self._p.shape[-1]):
            raise RequestError(
                f"a KL compares the same prompts: logits of shape {tuple(edited_logits.shape)} for {len(index)} "
                f"prompts with a vocabulary of {self._p.shape[-1]}"
            )
        rows = edited_logits.reshape(-1, edited_logits.shape[-1])
        found = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
        for i, row in enumerate(rows):  # one by one: what is made of a row of a vocabulary stays in a core's cache
            prompt = index[i % len(index)]
            log_q = torch.log(torch.softmax(row.double(), dim=-1) + KL_EPSILON)
            found[i] = (self._p[prompt] * (self._log[prompt] - log_q)).sum()
        return found.reshape(edited_logits.shape[:-1])


def kl_to_base(base_logits: Tensor, edited_logits: Tensor) -> Tensor:
    """`Base.kl` of two sets of logits [n, vocabulary] on the same prompts in the same order: float64 [n], nats.

    Raises:
        RequestError: shapes that differ.
    """
    return Base(base_logits).kl(edited_logits, range(len(base_logits)))
