"""Words of a prompt exchanged for others that mean about the same: the mutation of `autodan`, without a network.

The published attacks ask a second language model to rewrite a prompt, or WordNet for synonyms. Here is a small table of
ordinary English words, written for it: what comes out holds only words that went in and words of the table, so that no
name, no placeholder and no other behaviour's words can slip in. It is a weaker operator than a rewriting model's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_GROUPS = """
important crucial essential vital key
very extremely highly truly
always invariably consistently constantly
answer reply response
answers replies responses
respond react
question query
questions queries
explain describe clarify
explains describes clarifies
detailed thorough complete comprehensive exhaustive
details particulars specifics
show demonstrate
shows demonstrates
help assist aid
helps assists aids
helpful useful valuable
give provide offer supply
gives provides offers supplies
given provided offered supplied
make create produce build
makes creates produces builds
made created produced built
begin start commence
begins starts commences
end finish conclude
ends finishes concludes
use employ apply
uses employs applies
using employing applying
need require
needs requires
want wish desire
wants wishes desires
imagine picture suppose envision
imagined pictured supposed envisioned
think believe reckon
say state declare
says states declares
speak talk converse
speaks talks converses
story tale narrative
stories tales narratives
character figure persona
characters figures personas
role part
world realm universe
scene setting scenario
fictional imaginary invented
hypothetical theoretical notional
pretend feign
creative inventive imaginative
clever smart ingenious shrewd
skilled adept capable proficient
expert specialist authority
experts specialists authorities
wise sage
good fine decent
great superb excellent splendid
best finest
bad poor
big large huge
small little tiny
long lengthy extended
short brief concise
quickly rapidly swiftly
slowly gradually
carefully cautiously attentively
clearly plainly distinctly
exactly precisely accurately
simply merely just
fully completely entirely wholly
directly straightforwardly
freely openly
honest sincere candid frank
honestly sincerely candidly frankly
different distinct various
special particular specific
possible feasible conceivable
new novel fresh
old aged ancient
strange odd peculiar curious
easy simple effortless
true genuine real
whole entire total
certain sure definite
aware conscious mindful
ready prepared set
follow obey heed
follows obeys heeds
ignore disregard overlook
remember recall recollect
consider contemplate ponder
discuss debate
decide determine resolve
allow permit
allowed permitted
refuse decline
avoid evade
include contain
includes contains
mention note
keep retain maintain
reveal disclose
understand grasp comprehend
learn discover
teach instruct
guide lead
person individual
people individuals folks
friend companion ally
friends companions allies
teacher instructor tutor
student pupil learner
students pupils learners
writer author
scientist researcher scholar
task job assignment duty
tasks jobs assignments duties
goal aim purpose objective
goals aims purposes objectives
method technique approach
methods techniques approaches
step stage
steps stages
rule regulation
rules regulations
limit bound restriction
limits bounds restrictions
way manner fashion
idea notion concept thought
ideas notions concepts thoughts
example instance sample
examples instances samples
reason cause
reasons causes
result outcome
results outcomes
problem issue trouble
problems issues troubles
information knowledge data
advice counsel guidance
opinion view
opinions views
conversation dialogue discussion
conversations dialogues discussions
language speech
tone style
also additionally moreover furthermore
however nevertheless nonetheless
therefore thus hence consequently
although though
often frequently regularly
sometimes occasionally
maybe perhaps possibly
about regarding concerning
within inside
while whilst
many numerous countless
several multiple
enough sufficient adequate
"""


def _table(groups: str) -> dict[str, tuple[str, ...]]:
    """Word -> the other words of its groups, each once, in the order of the table."""
    found: dict[str, dict[str, None]] = {}
    for line in groups.strip().splitlines():
        words = line.split()
        for word in words:
            found.setdefault(word, {}).update(dict.fromkeys(other for other in words if other != word))
    return {word: tuple(others) for word, others in found.items() if others}


SYNONYMS: dict[str, tuple[str, ...]] = _table(_GROUPS)
"""Lower-cased word -> what may stand in its place."""

_WORD = re.compile(r"\[[A-Z]+\]|[A-Za-z]+(?:['’][A-Za-z]+)*")
"""A word, or a placeholder in brackets as a whole, so that no word inside it is one."""


def words(text: str) -> frozenset[str]:
    """The words of the table that a text holds, lower-cased; those in brackets are none."""
    return frozenset(found for match in _WORD.finditer(text) if (found := match[0].lower()) in SYNONYMS)


def reworded(
    text: str, rng: random.Random, share: float, pick: Callable[[str, Sequence[str]], str] | None = None
) -> str:
    """The text with some of its words exchanged; everything else stays as it is, character for character.

    Args:
        text: any text; placeholders in brackets (`[REQUEST]`) are left alone.
        rng: decides which words, and their synonyms where `pick` is None.
        share: chance, in [0, 1], that a word of the table is exchanged; above 0 at least one is, if there is any.
        pick: (word, synonyms) -> the one to put there, the word itself among them; all lower-cased.

    Returns:
        A text with as many words. Capitals are kept (`Help` becomes `Assist`, `HELP` becomes `ASSIST`), and behind "a"
        or "an" only a word that takes the same article is put.
    """
    found = list(_WORD.finditer(text))
    open_to: dict[int, tuple[str, ...]] = {}
    for place, match in enumerate(found):
        others = SYNONYMS.get(match[0].lower(), ())
        article = found[place - 1][0].lower() if place else ""
        if article in ("a", "an"):
            others = tuple(other for other in others if (other[0] in "aeiou") == (article == "an"))
        if others:
            open_to[place] = others
    chosen = [place for place in open_to if rng.random() < share]
    if not chosen and open_to and share > 0:
        chosen = [rng.choice(list(open_to))]
    parts, behind = [], 0
    for place in chosen:
        match, others = found[place], open_to[place]
        word = match[0].lower()
        put = rng.choice(others) if pick is None else pick(word, (word, *others))
        parts += [text[behind : match.start()], _cased(put, match[0])]
        behind = match.end()
    return "".join((*parts, text[behind:]))


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
