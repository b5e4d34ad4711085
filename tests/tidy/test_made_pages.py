"""The pages that show what the program makes of the bundled sample show what it makes now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import examples, tutorial

pytestmark = pytest.mark.slow


def test_the_examples_are_what_the_program_makes(root: Path) -> None:
    made = examples.page(examples.make())
    kept = (root / examples.PAGE).read_text(encoding="utf-8")
    assert examples.comparable(made) == examples.comparable(kept), "run python -m tools.examples"
    assert len(re.findall(r"^### ", made, re.MULTILINE)) == 5 + 3


def test_the_tutorials_output_is_what_its_commands_print(root: Path) -> None:
    kept = (root / tutorial.PAGE).read_text(encoding="utf-8")
    ran = [line for block in tutorial.blocks(kept) for line in tutorial.commands(block)]
    assert len(ran) >= 10
    assert tutorial.comparable(tutorial.run(kept)) == tutorial.comparable(kept), (
        "run python -m tools.tutorial"
    )


def test_only_what_differs_each_time_is_left_out_of_a_comparison() -> None:
    page = "up 2 s, 89 MB\n 1  Edit reader.py\n    01a16295-116b-7e7a-a6cc-aeef36d153e2\n"
    again = "up 31 s, 101 MB\n 1  Edit reader.py\n    01a16295-0000-7e7a-a6cc-aeef36d15111\n"
    assert tutorial.comparable(page) == tutorial.comparable(again)
    assert tutorial.comparable(page) != tutorial.comparable(page.replace("Edit", "Write"))
    item = "- No Redis lock. (2026-10-12) [01a12ee22aca]"
    assert examples.comparable(item) == examples.comparable(item.replace("01a12e", "ffffff"))
    assert examples.comparable(item) != examples.comparable(
        item.replace("2026-10-12", "2026-10-13")
    )
