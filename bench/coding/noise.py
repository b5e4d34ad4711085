"""Generated work around the sessions written by hand: the everyday commands, reads and answers of the same projects.

Deterministic. What it is made of is in `noise.toml`; it answers none of the questions, and never falls on a day of the
sessions that they are about.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from bench.coding import rows as make
from bench.coding.rows import Json, Row
from bench.coding.sessions import rows as written

FILE = Path(__file__).with_name("noise.toml")
_SEED = 20_260_112
_FIRST = datetime.fromisoformat("2026-01-09T08:00")
_DAYS = 100
_SESSIONS = 13  # of each project
_EVENTS = (18, 30)


def rows() -> Iterator[Row]:
    """All of it, session by session."""
    made = tomllib.loads(FILE.read_text(encoding="utf-8"))
    common = made.pop("common")
    taken = {row["time"][:10] for row in written()}
    days = [_FIRST + timedelta(days=day) for day in range(_DAYS)]
    free = [day for day in days if day.date().isoformat() not in taken]
    for project, words in made.items():
        chance = random.Random(f"{_SEED} {project}")
        for number in range(_SESSIONS):
            start = chance.choice(free) + timedelta(minutes=chance.randrange(600))
            yield from _session(
                f"{project}-{number}",
                project,
                start,
                _Work(chance, words, common, f"/home/dev/{project}"),
            )


def _session(id_: str, project: str, start: datetime, work: _Work) -> Iterator[Row]:
    for number in range(work.chance.randint(*_EVENTS)):
        kind, data = work.prompt() if number % 8 == 0 else work.step()
        at = (start + timedelta(seconds=45 * number)).isoformat()
        data["cwd"] = f"/home/dev/{project}"
        yield make.row(f"noise/{id_}/{number}", f"noise-{id_}", project, at, kind, data)


class _Work:
    """Draws events of one project."""

    def __init__(self, chance: random.Random, words: Json, common: Json, home: str) -> None:
        self.chance = chance
        self._words = words
        self._common = common
        self._home = home
        self._steps: list[Callable[[], tuple[str, Json]]] = [
            self._tests,
            self._tests,
            self._log,
            self._grep,
            self._grep,
            self._read,
            self._read,
            self._install,
            self._status,
            self._other,
            self._edit,
            self._failure,
            self._reply,
            self._reply,
        ]

    def prompt(self) -> tuple[str, Json]:
        """Something small that is asked for."""
        return "prompt.submitted", {"content": self._one("prompts")}

    def step(self) -> tuple[str, Json]:
        """Something that is done or said."""
        return self.chance.choice(self._steps)()

    def _one(self, name: str) -> Any:
        return self.chance.choice(self._words[name])

    def _path(self) -> str:
        return f"{self._home}/{self._one('files')}"

    def _hash(self) -> str:
        return f"{self.chance.getrandbits(28):07x}"

    def _fill(self, text: str) -> str:
        return text.format(
            symbol=self._one("symbols"),
            file=self._one("files"),
            package=self._one("packages"),
            hash=self._hash(),
        )

    def _tests(self) -> tuple[str, Json]:
        file = PurePosixPath(self._one("files"))
        command = self._words["test"].format(file=file, dir=file.parent, stem=file.stem)
        passed, took = self.chance.randint(3, 90), self.chance.uniform(0.4, 40)
        return "tool.used", make.ran(command, f"{passed} passed in {took:.2f}s")

    def _log(self) -> tuple[str, Json]:
        lines = (
            f"{self._hash()} {self._one('authors')}: {self._fill(self.chance.choice(self._common['subjects']))}"
            for _ in range(self.chance.randint(3, 9))
        )
        return "tool.used", make.ran("git log --format='%h %an: %s' -n 9", "\n".join(lines))

    def _grep(self) -> tuple[str, Json]:
        symbol = self._one("symbols")
        lines = (
            f"{self._one('files')}:{self.chance.randint(3, 400)}: {symbol}"
            for _ in range(self.chance.randint(1, 8))
        )
        return "tool.used", make.ran(f"rg -n {symbol}", "\n".join(lines))

    def _read(self) -> tuple[str, Json]:
        count = self.chance.randint(3, 12)
        body = "\n".join(
            f"    {self._one('symbols')}({self._one('symbols')})" for _ in range(count)
        )
        return "tool.used", make.read(self._path(), body)

    def _install(self) -> tuple[str, Json]:
        lines = [
            f"{package} {self.chance.randint(0, 9)}.{self.chance.randint(0, 30)}.{self.chance.randint(0, 9)}"
            for package in self.chance.sample(self._words["packages"], 4)
        ]
        return "tool.used", make.ran(self._words["install"], "\n".join(lines))

    def _status(self) -> tuple[str, Json]:
        files = self.chance.sample(self._words["files"], self.chance.randint(1, 4))
        return "tool.used", make.ran("git status -s", "\n".join(f" M {file}" for file in files))

    def _other(self) -> tuple[str, Json]:
        return "tool.used", make.ran(*self._one("others"))

    def _edit(self) -> tuple[str, Json]:
        old, new = self.chance.sample(self._words["symbols"], 2)
        return "tool.used", make.edited(self._path(), f"    {old}()", f"    {new}()")

    def _failure(self) -> tuple[str, Json]:
        command, error = map(self._fill, self.chance.choice(self._common["failures"]))
        return "tool.failed", make.failed(command, error)

    def _reply(self) -> tuple[str, Json]:
        return "assistant.replied", {
            "content": self._fill(self.chance.choice(self._common["replies"]))
        }
