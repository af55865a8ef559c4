"""What the tables of geometry share: parameters, sources, and what no geometry says."""

from __future__ import annotations

from geoaudit.measures.definition import Parameter

PAPER_1 = "arXiv 2604.27019 §3"
PAPER_2 = "arXiv 2606.16349 §3"
GEOMETRY_LIMIT = (
    "Whether the model refuses: geometry alone does not tell. Read it beside the refusal and attack success rates."
)
N_TRAIN = Parameter(
    "Harmful and as many harmless probe prompts on which the difference in means is taken.",
    "int",
    low=32,
    high=176,
    profile=True,
)
N_VALIDATION = Parameter(
    "Harmful and as many harmless validation prompts on which every candidate is scored.",
    "int",
    low=8,
    high=72,
    profile=True,
)
