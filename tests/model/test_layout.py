from __future__ import annotations

import torch

from geoaudit.model.chat import Rendered
from geoaudit.model.generate import _padded
from geoaudit.model.layout import PADDING, padded_behind, prefix, suffixes

ONE, TWO = Rendered((7, 8, 9), 2, ""), Rendered((7, 8, 5, 6, 4), 3, "")


def test_every_column_names_the_token_that_it_holds():
    made = padded_behind([ONE, TWO], 2)
    assert made.prompts == (ONE, TWO)
    assert made.index.tolist() == [[0, 1, PADDING, PADDING, 2], [0, 1, 2, 3, 4]]
    tokens, mask = _padded(made)
    assert tokens.tolist() == [[7, 8, 7, 7, 9], [7, 8, 5, 6, 4]]
    assert mask.tolist() == [[1, 1, 0, 0, 1], [1] * 5]
    assert padded_behind([ONE, TWO], 0).index.tolist() == [[PADDING, PADDING, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_a_prefix_and_what_follows_it():
    assert prefix([ONE, TWO], 2).index.tolist() == [[0, 1]]
    assert prefix([ONE, TWO], 2).prompts == (ONE,)
    assert suffixes([ONE, TWO], 2).index.tolist() == [[2, PADDING, PADDING], [2, 3, 4]]
    assert suffixes([ONE, TWO], 0).index.tolist() == [[0, 1, 2, PADDING, PADDING], [0, 1, 2, 3, 4]]
    assert prefix([ONE], 0).index.shape == torch.Size([1, 0])
