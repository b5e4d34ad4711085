"""Learnings by rule: an error and what ended it, a preference a person stated, a decision with its because. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from claude_mem.domains.intelligence import outcomes
from claude_mem.domains.intelligence.mending import Mended
from claude_mem.domains.intelligence.model import Finding
from claude_mem.domains.intelligence.scoring import USER, Scored, decides, width
from claude_mem.domains.intelligence.sentences import clip
from claude_mem.domains.retrieval.analysis import is_stop_word, tokens

_TITLE: Final = 100
_PREFERENCES, _MENDS, _DECISIONS = 6, 5, 4  # a session
_CONFIG = re.compile(
    r"\bconfig\w*|\bsettings?\b|\benv(?:ironment)?\b|\bport\b|\bversion\b|\bflags?\b|\.(?:toml|ya?ml"
    r"|json|ini|env)\b|配置|设置|端口|版本",
    re.IGNORECASE,
)
# That somebody "learned of" or "learned about" a thing says nothing of what was learned.
_LESSON = re.compile(
    r"\blesson\b|\blearned(?: that\b|:| the hard way\b| (?:not |never )?to\b)|\bin general\b"
    r"|\bpattern\b|教训|经验|规律",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"0x[0-9a-f]+|\b[0-9a-f]{7,40}\b|\d+(?:\.\d+)?|(?:/[\w.@-]+)+/", re.IGNORECASE
)
_ALIKE: Final = 0.6


def findings_of(
    rules: Sequence[Scored], chosen: Sequence[Scored], repairs: Sequence[Mended]
) -> tuple[Finding, ...]:
    """The learnings of a session, each fingerprint once."""
    found = [
        *list(map(_preference, rules))[:_PREFERENCES],
        *[_mend(it) for it in repairs if it.mend.succeeded and outcomes.names_error(it.mend.error)][
            :_MENDS
        ],
        *list(_decisions(chosen, rules))[:_DECISIONS],
    ]
    return tuple({finding.fingerprint: finding for finding in found}.values())


def _preference(each: Scored) -> Finding:
    text = each.sentence.text
    return Finding(
        category="config" if _CONFIG.search(text) else "best_practice",
        title=clip(text, _TITLE),
        description=text,
        fingerprint=fingerprint("preference", text),
        refs=(each.sentence.ref,),
        occurred_at=each.sentence.at,
        confidence=0.75,
        importance=0.9,
        tags=("preference",),
    )


def _mend(it: Mended) -> Finding:
    failed = it.mend.failed
    programs = sorted(outcomes.programs(failed["command"]))
    quoted = [failed["command"][:400], it.mend.error]
    if it.mend.succeeded is not None:
        quoted.append(it.mend.succeeded["command"][:400])
    return Finding(
        category="solution",
        title=clip(it.mend.error, _TITLE),
        description=it.point.text,
        fingerprint=fingerprint(
            "mend", f"{' '.join(programs)} {_VARIABLE.sub('#', it.mend.error)}"
        ),
        refs=it.point.refs,
        occurred_at=it.point.at,
        confidence=0.7 if it.why else 0.5,
        importance=0.7 if it.why else 0.5,
        examples=tuple(quoted),
        tags=tuple(programs[:4]),
        context={"files": list(it.files[:8])},
    )


def _decisions(chosen: Sequence[Scored], rules: Sequence[Scored]) -> Iterator[Finding]:
    """Decisions and rejections that say why, the weightiest first."""
    held = {id(each) for each in rules}
    for each in sorted(chosen, key=lambda it: -it.worth):
        it = each.sentence
        says = decides(each) and "cause" in each.kinds
        if (
            id(each) in held
            or it.subagent
            or not it.is_own
            or width(it.text) < 40
            or it.text.endswith(("?", "？"))
        ):
            continue
        if says or _LESSON.search(it.text):
            yield Finding(
                category="pattern" if _LESSON.search(it.text) else "general",
                title=clip(it.text, _TITLE),
                description=it.text,
                fingerprint=fingerprint("decision", it.text),
                refs=(it.ref,),
                occurred_at=it.at,
                confidence=0.7 if it.role == USER else 0.6,
                importance=0.75,
                tags=("decision",),
            )


def essence(text: str) -> frozenset[str]:
    """The words that make two texts the same learning."""
    return frozenset(word for word in tokens(text) if not is_stop_word(word))


def fingerprint(kind: str, text: str) -> str:
    """A hash that is the same however the words are ordered or dressed."""
    said = "\0".join([kind, *sorted(essence(text))])
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def is_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two essences say the same: most of the shorter one is in both, and neither says much more."""
    if len(one) < 2 or len(other) < 2:
        return one == other
    shared = len(one & other)
    return shared / len(one | other) >= _ALIKE or (
        shared / min(len(one), len(other)) >= 0.85 and shared >= 3
    )
