"""What counts as a rule that a person stated, and what only looks like one."""

from __future__ import annotations

import pytest

from claude_mem.domains.intelligence.digest import is_rule
from claude_mem.domains.intelligence.findings import findings_of
from claude_mem.domains.intelligence.outcomes import programs
from claude_mem.domains.intelligence.scoring import Sentence, decides, score
from claude_mem.domains.intelligence.sentences import split
from claude_mem.domains.memory.model import EntityRef

RULES = (
    "You never run apply on prod.",
    "We never push on a Friday.",
    "Always a new branch for each ticket.",
    "We always round half to even.",
    "Amounts are kept as cents, always as integers.",
    "In future, ask before you delete anything.",
    "请每次都先跑测试。",
    "Always format with black before you commit.",
    "Never push to main directly, open a pull request.",
    "From here on: one branch a ticket.",
    "Use poetry, not pip.",
    "And use `make deploy` with `--dry-run`, we got bitten by that.",
    "One migration per release, as the operators ask.",
    "No lodash please; the standard library has it.",
    "I want it deterministic: no sleeps, no random seeds.",
    "The parser must stay free of dependencies.",
    "Review first, as always.",
    "后端只用 poetry，不要用 pip。",
    "每个函数不超过 40 行。",
    "端口要从配置里读，不能写死。",
    "日期一律用 ISO 格式。",
    "这条以后都这样：先写测试。",
    "没有权限就返回 401，不要 500，免得误导别人。",
    "另外定一条规矩：提交说明用英文。",
)
NONE = (
    "The clerk told us we always pay late.",
    "Our printer never worked on a Monday.",
    "I've never met this warning before.",
    "The export always needs an hour.",
    "The import has never ended without a complaint.",
    "In later versions and in the future the flag is gone.",
    "No pages were printed, print them now.",
    "No headings in this answer.",
    "They always make my day.",
    "It reminds me to always look up.",
    "You never know what comes of it.",
    "We always look forward to the summer.",
    "I'm so glad we can always be there for each other.",
    "I'll always remember that trip.",
    "Always happy to help with that.",
    "Always a pleasure to see them.",
    "No regrets, I promise you.",
    "访客总是说页面太慢。",
    "这台机器永远连不上网。",
    "登录以后界面总是空白，帮我看看。",
    "It's always the same test that fails.",
    "That is always slow on Mondays.",
    "I remember that we never finished this.",
    "No idea what happened there.",
    "No, the other file.",
    "Is it true that we never use pip here?",
    "Try it quickly, then tell me the number.",
    "Write down what we learned.",
    "登录以后页面是空白的。",
    "其他一律照旧显示。",
    "我记得我们有一条日志的规矩。",
    "先看看这个文件。",
    "这个文件为什么超过了 500 行？",
)


def of_a_person(text: str) -> bool:
    sentence = Sentence(text, "user", EntityRef("prompt", "1"), 0, 0, False, False, True)
    return is_rule(score([sentence])[0])


@pytest.mark.parametrize("text", RULES)
def test_what_holds_beyond_the_session_is_a_rule(text: str) -> None:
    assert of_a_person(text)


@pytest.mark.parametrize("text", NONE)
def test_a_report_a_question_or_an_errand_is_no_rule(text: str) -> None:
    assert not of_a_person(text)


def said(text: str, role: str = "assistant") -> bool:
    sentence = Sentence(text, role, EntityRef("prompt", "1"), 0, 1, False, False, False)
    return decides(score([sentence])[0])


@pytest.mark.parametrize(
    "text",
    [
        "We hash the parsed body, not the bytes that came in.",
        "The clock is wrong, not the schedule.",
        "From 4.1 s to 20 ms, and no row was lost.",
        "It starts at 8:00 instead of 9:00.",
        "I did not touch it without asking.",
        "No key on the second column.",
    ],
)
def test_what_an_assistant_says_is_so_is_no_decision(text: str) -> None:
    assert not said(text)


@pytest.mark.parametrize(
    "text",
    [
        "We'll take a queue instead of a cron job.",
        "Rejected: a second cache, it would have to be emptied too.",
        "Recommendation: keep the view and drop the table.",
        "我们改用队列，不用定时任务。",
    ],
)
def test_what_somebody_chose_is_a_decision(text: str) -> None:
    assert said(text)


@pytest.mark.parametrize(
    "text",
    ["Agreed, now run the tests.", "Agreed. Show me the migration", "Agreed!", "agreed; next file"],
)
def test_assent_by_itself_decides_nothing(text: str) -> None:
    assert not said(text, "user")


@pytest.mark.parametrize(
    "text",
    [
        "Agreed: cents as whole numbers.",
        "Agreed on the queue for all mails.",
        "Agreed, we'll use the queue for all mails.",
        "We agreed, after the outage, on two replicas.",
    ],
)
def test_assent_with_what_is_agreed_is_a_decision(text: str) -> None:
    assert said(text, "user")


def lessons(text: str) -> list[str]:
    sentence = Sentence(text, "assistant", EntityRef("prompt", "1"), 0, 1, False, False, False)
    return [found.description for found in findings_of([], score([sentence]), [])]


@pytest.mark.parametrize(
    "text",
    [
        "We learned that the provider sends every event twice on Mondays.",
        "Learned the hard way: the pool is emptied by one long migration.",
        "Learned: a lock per slot is enough for all the bookings.",
    ],
)
def test_what_was_learned_is_a_learning(text: str) -> None:
    assert lessons(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "Learned about the layout of the folders, next come the tests.",
        "The customers learned of it from the status page yesterday.",
    ],
)
def test_that_something_was_learned_is_none(text: str) -> None:
    assert lessons(text) == []


def test_a_person_rejects_without_saying_who() -> None:
    assert said("Not a lock: it would be one more thing to watch.", "user")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Use `!=` here. Then stop.", ["Use `!=` here.", "Then stop."]),
        ("Open https://host/find?a=1&b=2 now!", ["Open https://host/find?a=1&b=2 now!"]),
        ('He said "stop here." Then it went on.', ['He said "stop here."', "Then it went on."]),
        ("先停。`a。b` 再走。", ["先停。", "`a。b` 再走。"]),
    ],
)
def test_a_sentence_keeps_every_character(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_words_of_the_shell_are_no_programs() -> None:
    command = "for f in a b; do pytest $f || exit 1; done; if true; then ruff check; fi"
    assert programs(command) == {"pytest", "ruff"}
