"""What a digest is not to say any more: a learning that a person had forgotten, at the rows it was drawn from. Pure.

The rows stay, for only what was made of them was forgotten; the digest is made as if they did not say it. What is kept
of it is a hash. Must never take out more of a message than the sentence, where the sentence can be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from claude_mem.domains.intelligence.model import Finding
from claude_mem.domains.intelligence.sentences import split
from claude_mem.domains.memory.model import Material

Row = Mapping[str, Any]


def key(fingerprint: str) -> str:
    """The natural key, in its session, of a finding that is not to be told."""
    return f"forgotten-learning:{fingerprint}"


def without(material: Material, findings: Sequence[Finding]) -> Material:
    """The material without the sentences, notes and failures that these findings were drawn from."""
    for finding in findings:
        first = finding.refs[0]
        if first.kind == "prompt":
            prompts = (_unsaid(row, finding, first.id) for row in material.prompts)
            kept = tuple(dict(row) for row in prompts if row is not None)
            material = replace(material, prompts=kept)
        else:
            seen = tuple(row for row in material.observations if row["id"] != first.id)
            material = replace(material, observations=seen)
    return material


def _unsaid(row: Row, finding: Finding, prompt_id: str) -> Row | None:
    """The message without the sentence; None where it is not found as it was told, so that nothing of it is left."""
    if row["id"] != prompt_id:
        return row
    head, tail = split(row["head"]), split(row["tail"])
    left = [it for it in head if it != finding.description]
    left_of_tail = tail[:1] + [it for it in tail[1:] if it != finding.description]
    if len(left) + len(left_of_tail) == len(head) + len(tail):
        return None
    return {**row, "head": "\n\n".join(left), "tail": "\n\n".join(left_of_tail)}
