"""What a session is called. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from claude_mem.domains.intelligence import cues
from claude_mem.domains.intelligence.borrowed import MASK
from claude_mem.domains.intelligence.outcomes import Commit
from claude_mem.domains.intelligence.scoring import USER, Scored, Sentence, width
from claude_mem.domains.intelligence.sentences import clip
from claude_mem.domains.memory.model import TITLE_CHARS, UNTITLED, preview

_ROOM: Final = 100
_INTRODUCED: Final = 12  # from which an introduction says something
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])")
_PREFIX = re.compile(
    r"^(?:feat|fix|chore|docs|refactor|test|perf|build|ci|style)(?:\([^)]*\))?!?:\s*"
)


def title_of(session: dict[str, Any], commits: Sequence[Commit], said: Sequence[Scored]) -> str:
    """The agent's own title; else what was committed; else what was asked."""
    asked = [each for each in said if each.sentence.role == USER and not each.sentence.subagent]
    given = str(session["title"] or "")
    if given and given != UNTITLED and not _repeats(given, asked):
        return clip(given, TITLE_CHARS)
    if commits:
        return _of_commits(commits, said)
    if asked:
        return _of_request(asked)
    spoken = max(said, key=lambda each: each.worth, default=None)
    return clip(spoken.sentence.text.rstrip("。.:："), _ROOM) if spoken else given or UNTITLED


def _repeats(title: str, asked: Sequence[Scored]) -> bool:
    """Whether a title is only how a prompt begins."""
    start = preview(asked[0].sentence.text, 24).rstrip("…")[:20] if asked else ""
    return bool(start) and title[:80].find(start) in range(12)


def _of_commits(commits: Sequence[Commit], said: Sequence[Scored]) -> str:
    """The commit whose words the session is most about; a second one where there is room."""
    about = {word for each in said for word in each.hard} | {w for each in said for w in each.words}
    subjects = list(dict.fromkeys(_PREFIX.sub("", it.subject) for it in commits))

    def weight(subject: str) -> float:
        words = set(subject.casefold().split())
        return sum(1.0 for word in words if word.strip("().,:") in about) + width(subject) / 60

    best = sorted(subjects, key=weight, reverse=True)[:2]
    best.sort(key=subjects.index)
    joined = "; ".join(best)
    return joined if width(joined) <= _ROOM + 20 else clip(max(best, key=weight), TITLE_CHARS)


def _tells_the_task(each: Scored) -> float:
    """What is wrong or to be done names a session better than a wish or a setting of the scene."""
    wrong = 1.0 if "failure" in each.kinds else 0.0
    wish = 1.6 if each.kinds & {"rule", "preference"} else 0.0
    return each.worth + wrong - wish


def _of_request(asked: Sequence[Scored]) -> str:
    """The best sentence of the first requests in the person's own words, without courtesies, cut at a clause."""
    first = asked[0].sentence.message
    early = [each for each in asked if each.sentence.message == first] or list(asked[:5])
    own = [each for each in early if each.sentence.is_own] or [
        each for each in asked if each.sentence.is_own
    ]
    best = max(own, key=_tells_the_task).sentence.text if own else _borrowed(early[0].sentence)
    text = cues.COURTESY.sub("", best).strip() or best
    limit = int(_ROOM / max(width(text) / len(text), 1.0))
    return clip(text[:1].upper() + text[1:], limit).rstrip("。.:：")


def _borrowed(it: Sentence) -> str:
    """Of what is only handed over or pasted: how it is introduced, or else that it was pasted."""
    introduced = (it.own or "").partition(MASK)[0].rstrip(" \"'“„«「『‘:：,，")
    if width(introduced) >= _INTRODUCED:
        return introduced
    return "粘贴的文字" if cues.is_dense_script(it.text) else "Pasted text"
