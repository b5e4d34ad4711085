"""What a hit tells a prompt: the passages that speak most of it and, of the best hits, the whole. Pure.

Passages are chosen among by their own words, so that what a question and its answer do not share is lost: a list behind
"so the plan is:", the reason in the next sentence, a change whose words are code. The search has looked at more than
that, so the best of what it found is told whole where the room allows.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from claude_mem.domains.context.fence import clean
from claude_mem.domains.context.interest import Interest, is_mostly_of
from claude_mem.domains.context.model import Unit, unit_keys
from claude_mem.domains.context.passages import LONGEST, WHOLE, paragraphs, passages, shorten
from claude_mem.domains.context.tokens import estimate
from claude_mem.domains.intelligence import cues
from claude_mem.domains.intelligence.notes import is_note
from claude_mem.domains.retrieval.hits import text_of, title_of
from claude_mem.domains.retrieval.model import Hit

WHOLES_SHARE: Final = 0.45  # of the room, for hits that are told whole
WHOLE_MOST: Final = 0.25  # of the room, for one of them: a longer one has its passages
_WHOLE_CHARS: Final = 1_600  # and however much room there is
_SPARE: Final = 2  # times the room is filled: some say the same, or what was told in other words
WHOLE_LINE_TOKENS: Final = (
    19  # around it: the hits of a search are of many sessions, so most have an id and a day
)
_LOOKED_AT: Final = 3  # times as many passages as are taken are looked at closely
_ROUNDING: Final = 1e-9  # by which two ways to add up the same may differ
_PER_HIT, _PER_OUTPUT = 12, 4  # passages: of what was said, of what a tool gave
_OUTPUT: Final = (
    0.3  # of the hit's closeness, to a passage of what a tool gave: somebody's words say more
)
_ASKED: Final = "asked: "
_REPEATED: Final = 0.8  # of an earlier prompt's words, that the present one has
_NAME: Final = 40  # characters of who spoke
_NO_NAME: Final = re.compile(r"[^\w .'-]")  # a heading, an id or a tag is nobody's name
_FOLDERS: Final = re.compile(
    r"(?<!\S)/(?:[^/\s]+/)+(?=[^/\s]+/[^/\s]+)"
)  # of a path, all but the last two parts


@dataclass(slots=True)
class Wholes:
    """How much is left of the room (in tokens) for hits that are told whole, and how much for one.

    `wanted` are the words of the prompt; `given` keys of what was told before: what repeats either takes no room.
    """

    left: float
    most: float
    wanted: frozenset[str] = frozenset()
    given: Set[str] = frozenset()

    @classmethod
    def within(
        cls, room: float, wanted: frozenset[str] = frozenset(), given: Set[str] = frozenset()
    ) -> Wholes:
        """For a context that has `room` for memories."""
        return cls(_SPARE * WHOLES_SHARE * room, WHOLE_MOST * room, wanted, given)

    def take(self, whole: Unit) -> bool:
        """Whether it is to be told; then the room is the less."""
        if self.left <= 0 or not whole.text or len(whole.text) > _WHOLE_CHARS:
            return False
        cost = estimate(whole.text) + WHOLE_LINE_TOKENS
        if cost > self.most or not self.given.isdisjoint(unit_keys(whole)):
            return False
        if asks_again(whole, self.wanted):
            return False
        self.left -= cost
        return True


def units_of(
    hit: Hit, rank: int, close: float, nearby: float, interest: Interest, wholes: Wholes
) -> Iterator[Unit]:
    """The units of a hit that is the `rank`th (from 0): `close` to what is asked, in a session that is `nearby`.

    A whole is made of its pieces as they are shown: what is an order to a model in one of them ends with it.
    """
    said = hit.ref.kind == "prompt"
    text = text_of(hit.row) if said else _given(hit)
    cut = list(paragraphs(text) if said else passages(text))
    longest = WHOLE if said else LONGEST
    if wholes.left > 0 and len(text) <= _WHOLE_CHARS:
        shown = tuple(clean(shorten(piece, longest)) for piece in cut)
        whole = _unit(hit, " ".join(shown), close, nearby, rank=rank, pieces=shown)
        if whole.about == "passage" and wholes.take(whole):
            yield whole
    own = close if said else close * _OUTPUT
    most = _PER_HIT if said else _PER_OUTPUT
    for order, share in _telling(cut, most, interest):
        text = shorten(cut[order], longest)
        yield _unit(hit, text, own, nearby, order=order, share=share)


def asks_again(unit: Unit, wanted: frozenset[str]) -> bool:
    """Whether it is what is asked now, asked before: it tells nothing that the prompt does not.

    What states a rule is no question, however many of its words one has.
    """
    return (
        unit.kind == "prompt"
        and bool(unit.lead)
        and is_mostly_of(unit.text, wanted, _REPEATED)
        and not cues.RULE.search(unit.text)
    )


def _unit(
    hit: Hit,
    text: str,
    close: float,
    nearby: float,
    *,
    order: int = 0,
    share: float | None = None,
    rank: int | None = None,
    pieces: tuple[str, ...] = (),
) -> Unit:
    row = hit.row
    return Unit(
        kind=hit.ref.kind,
        id=hit.ref.id,
        about=_about(hit),
        text=text,
        order=order,
        share=share,
        lead=_lead(hit),
        session_id=row.get("session_id"),
        occurred_at=row["occurred_at"],
        importance=float(row.get("importance_score") or 0.0),
        closeness=close,
        nearby=nearby,
        reason="matches " + ", ".join(word for word, _ in hit.shares[:4]),
        rank=rank,
        pieces=pieces,
    )


def _telling(cut: Sequence[str], most: int, interest: Interest) -> Iterable[tuple[int, float]]:
    """The places of the passages that speak most of what is wanted, and how much they do.

    Looking closely at every passage of a long output would cost more than the search: a look for the letters of the
    words says which are worth it, and that the others can be none of the best.
    """
    enough = interest.enough or 1.0
    promised = [min(it / enough, 1.0) + _ROUNDING for it in interest.glance(cut)]
    best_first = sorted(range(len(cut)), key=lambda place: -promised[place])
    found: list[tuple[float, int]] = []  # the best first, of equals the earlier
    for place in best_first[: most * _LOOKED_AT]:
        if len(found) >= most and promised[place] < -found[most - 1][0]:
            break
        insort(found, (-interest.share_of(cut[place]), place))
    return [(place, -share) for share, place in found[:most]]


def _about(hit: Hit) -> str:
    saved = hit.ref.kind == "observation" and is_note(hit.row)
    return "saved" if saved and hit.row["source_tool"] == "preference" else "passage"


def _lead(hit: Hit) -> str:
    """What a passage is of: a command's output says little without the command; of what was said, who said it."""
    row = hit.row
    if hit.ref.kind in ("observation", "code_change"):
        return f"{shorten(_name(hit), 80)}: "
    metadata = row.get("metadata_json")
    speaker = metadata.get("speaker") if isinstance(metadata, Mapping) else None
    name = _NO_NAME.sub("", speaker[:_NAME]).strip() if isinstance(speaker, str) else ""
    if name:
        return f"{name}: "
    return _ASKED if row.get("prompt_type") == "user" else ""


def _name(hit: Hit) -> str:
    """What gave it: the tool and what for; of a file only the last parts of its path."""
    return _FOLDERS.sub("", title_of(hit.row))


def _given(hit: Hit) -> str:
    """What a tool gave, without a first line that only says again what the title does."""
    text = text_of(hit.row)
    first, _, rest = text.partition("\n")
    path = hit.row.get("file_path")
    repeats = first.lstrip("# ").strip() in title_of(hit.row) or (path and path in first)
    return rest if rest and repeats else text
