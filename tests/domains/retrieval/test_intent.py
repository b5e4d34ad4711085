"""What a question asks for, in English and Chinese, with the traps beside each."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import framing, intent, traits
from claude_mem.domains.retrieval.when import Period

NOW = 1_683_547_200_000  # 2023-05-08T12:00Z, a Monday


def read(text: str, place: str = "UTC") -> intent.Intent:
    return intent.read(text, NOW, place)


@pytest.mark.parametrize(
    ("question", "speaker", "expected"),
    [
        ("When did Caroline go hiking?", "Caroline", True),
        ("What is Caroline's dog called?", "Caroline", True),
        ("what did caroline say", "Caroline", True),
        ("What did Anna-Lena say?", "Anna Lena", True),
        ("What did Mary Ann say?", "Ann", True),
        ("Did the tall man Say anything?", "Tall", False),
        ("What did the user want?", "user", False),
        ("What did the Assistant say?", "assistant", False),
        ("Will it rain?", "Will", False),
        ("张伟喜欢什么？", "张伟", True),
        ("李娜喜欢什么？", "张伟", False),
        ("Who was it?", "", False),
    ],
)
def test_who_is_named(question: str, speaker: str, expected: bool) -> None:
    assert read(question).names_speaker(speaker) is expected


def test_the_letters_of_an_id_name_nobody() -> None:
    uuid, digest = "01a22872-bdd1-7d13-bea0-9bf0b228dee3", "9bea0b228cc63"
    for text in (uuid, uuid.upper(), digest, f"of {digest}, not {uuid}"):
        assert not read(text).names & {"bdd", "bea", "dee", "bf"}
        assert not read("did bea or dee say so?").names_speaker(text)
    assert read(f"what did bea say of {uuid}?").names_speaker("Bea")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When does my sprint end?", True),
        ("What have I decided?", True),
        ("what did i decide", True),
        ("I'm lost, where was it?", True),
        ("我昨天改了什么", True),
        ("What did Tim decide?", False),
        ("Is the index in memory?", False),
        ("part II of it", False),
    ],
)
def test_first_person(question: str, expected: bool) -> None:
    assert read(question).is_first_person is expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which library did you recommend?", False),
        ("What was your advice on caching?", False),
        ("Summarize how the parser came about", False),
        ("你推荐的是哪个库？", False),
        ("总结一下缓存的设计", False),
        ("What steps would you suggest I take?", True),
        ("Which library did I pick?", True),
    ],
)
def test_whether_speech_or_an_answer_is_wanted(question: str, expected: bool) -> None:
    assert read(question).wants_speech is expected


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When did it break?", intent.WHEN),
        ("What date was that?", intent.WHEN),
        ("什么时候坏的", intent.WHEN),
        ("How many workers are there?", intent.COUNT),
        ("有多少个进程", intent.COUNT),
        ("Who wrote it?", intent.WHO),
        ("Where is the lock taken?", intent.WHERE),
        ("为什么失败", intent.WHY),
        ("How does it start?", intent.HOW),
    ],
)
def test_the_kind_of_question(question: str, kind: str) -> None:
    assert read(question).kinds == {kind}


@pytest.mark.parametrize(
    ("question", "files"),
    [
        ("why did auth/jwt.ts fail", ("auth/jwt.ts",)),
        ("what changed in ~/code/app/main.py?", ("~/code/app/main.py",)),
        ("改了 utils.py 吗", ("utils.py",)),
        ("look into /etc/hosts", ("/etc/hosts",)),
        ("yes and/or no, e.g. v2.10 or 3.5", ()),
        ("see https://example.com/a/b", ()),
        ("Stop. Then go on", ()),
    ],
)
def test_files(question: str, files: tuple[str, ...]) -> None:
    assert read(question).files == files


def test_a_file_is_the_same_in_whole_components() -> None:
    asked = read("why did auth/jwt.ts fail")
    assert asked.names_file(("/srv/app/src/auth/jwt.ts",))
    assert asked.names_file(("src/other.ts", "AUTH/JWT.ts"))
    assert not asked.names_file(("src/oauth/jwt.ts",))
    assert not asked.names_file(("auth/jwt.tsx",))
    assert not read("why").names_file(("auth/jwt.ts",))


def test_identifiers() -> None:
    found = read("getUserById raises TS2345 since deadbeef1 in MAX_RETRY, see JIRA-12").identifiers
    assert found == ("getUserById", "TS2345", "deadbeef1", "MAX_RETRY", "JIRA-12")
    assert read("a plain question about nothing").identifiers == ()


def test_relative_times_are_those_of_the_zone() -> None:
    late = NOW + 10 * 3_600_000  # 22:00Z, the next day in Shanghai
    assert intent.read("yesterday", late, "UTC").times == (
        Period(date(2023, 5, 7), date(2023, 5, 7)),
    )
    assert intent.read("昨天", late, "Asia/Shanghai").times == (
        Period(date(2023, 5, 8), date(2023, 5, 8)),
    )
    asked = intent.read("what did we do yesterday", NOW)
    assert asked.is_in_time(NOW - 86_400_000)
    assert not asked.is_in_time(NOW)
    assert not read("what did we do").is_in_time(NOW)


def test_a_day_is_told_from_what_is_longer() -> None:
    assert read("what was decided on 8 May 2023").is_on_day(NOW)
    assert read("what was decided on 8 May").is_on_day(NOW)
    assert read("5月8日定了什么").is_on_day(NOW)
    assert not read("what was decided on 9 May 2023").is_on_day(NOW)
    for longer in ("what was decided in May 2023", "what was decided in May", "decided in 2023"):
        assert read(longer).is_in_time(NOW), longer
        assert not read(longer).is_on_day(NOW), longer
    assert not read("what was decided").is_on_day(NOW)


@pytest.mark.parametrize(
    ("question", "is_of_rules"),
    [
        ("may I push to main", True),
        ("are new dependencies allowed", True),
        ("does Ada prefer tabs", True),
        ("what are the rules for commit messages", True),
        ("可以直接推到主分支吗", True),
        ("提交信息有什么规定", True),
        ("why did the build fail in May", False),
        ("构建为什么失败", False),
    ],
)
def test_what_is_allowed_is_a_kind_of_question(question: str, is_of_rules: bool) -> None:
    assert (intent.RULES in read(question).kinds) is is_of_rules


def test_a_model_of_english_is_not_asked_about_chinese() -> None:
    assert intent.trust(read("where is the lock"), "en") == 1.0
    assert intent.trust(read("锁在哪里"), "en") == 0.0
    assert 0.0 < intent.trust(read("where is the lock 锁"), "en") < 1.0
    assert intent.trust(read("锁在哪里"), "any") == 1.0
    assert intent.trust(read("12 + 3"), "en") == 1.0
    assert intent.trust(read("un café à Zürich"), "en") == 1.0


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        (
            "Can you list the order in which I brought up different aspects of the parser throughout our conversations, "
            "in order? Mention ONLY and ONLY three items.",
            "the parser , ?",
        ),
        ("Can you give me a short summary of how the cache works?", "how the cache works?"),
        ("Could you show me how to add a login?", "how to add a login?"),
        ("请帮我总结一下缓存的设计", "缓存的设计"),
        ("When did Caroline go hiking?", "When did Caroline go hiking?"),
        ("List the open issues in the parser", "List the open issues in the parser"),
        ("Can you help me?", "Can you help me?"),
        ("our conversations", "our conversations"),
        ("", ""),
    ],
)
def test_framing_is_taken_off_a_question(question: str, topic: str) -> None:
    assert framing.topic(question) == topic


def test_a_paste_is_left_as_it_is() -> None:
    paste = "Can you list the log? " + "line of a log\n" * 400
    assert framing.topic(paste) == paste


@pytest.mark.parametrize(
    ("text", "is_speech", "marks"),
    [
        ("Always show versions when I ask about libraries.", True, traits.RULE),
        ("Thanks. Never touch the lock file.", True, traits.RULE),
        ("以后都用空格", True, traits.RULE),
        ("House rule: two reviewers", True, traits.WISH),
        ("Fine. And no new dependencies, please.", True, traits.WISH),
        ("Please don't touch the lock file", True, traits.WISH),
        ("生产库禁止直接改", True, traits.WISH),
        ("You never know what comes", True, 0),
        ("House rule: two reviewers", False, 0),
        ("I prefer tabs over spaces", True, traits.PREFERENCE),
        ("我更喜欢空格", True, traits.PREFERENCE),
        ("Always show versions when I ask about libraries.", False, 0),
        ("It was always slow, and I never knew why", True, 0),
        ("We met yesterday", True, traits.TIMED),
        ("The release was on 8 May 2023", False, traits.TIMED),
        ("From now on I prefer the build of last week", True, 7),
        ("", True, 0),
    ],
)
def test_marks_of_a_text(text: str, is_speech: bool, marks: int) -> None:
    assert traits.of(text, is_speech=is_speech) == marks


@given(st.text(), st.integers(min_value=-(2**62), max_value=2**62))
def test_any_text_at_any_moment(text: str, now: int) -> None:
    found = intent.read(text, now, "Asia/Shanghai")
    assert 0.0 <= found.foreign <= 1.0
    assert 0.0 <= intent.trust(found, "en") <= 1.0
    assert bool(found.topic.strip()) == bool(text.strip()) or not text.strip()


@pytest.mark.parametrize(
    ("question", "tool", "is_named"),
    [
        ("what did Bash print", "Bash", True),
        ("Bash printed what", "Bash", False),  # a capital of the first word says nothing
        ("the bash tool", "Bash", True),
        ("bash 工具报了什么错", "Bash", True),
        ("what does bash print", "Bash", False),
        ("WebFetch 超时了吗", "WebFetch", False),  # the first word
        ("为什么 WebFetch 超时", "WebFetch", True),
        ("result of get_issue", "mcp__github__get_issue", True),
        ("mcp__github__get_issue failed", "mcp__github__get_issue", True),
        ("src/Edit/x.ts", "Edit", False),
        ("what did Bash print", None, False),
        ("", "Bash", False),
    ],
)
def test_tools_are_told_from_other_words(question: str, tool: str | None, is_named: bool) -> None:
    assert read(question).names_tool(tool) is is_named
