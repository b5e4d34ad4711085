"""What counts as a word: English, Chinese, code, and everything else people paste."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import analysis


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The users were running tests", "the user were run test"),
        ("don't the user's", "dont the user"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
        ("Café cafe\u0301 naïve ﬁle", "cafe cafe naiv file"),
        ("wait...what -- (really)?", "wait what realli"),
        ("🎉 👍 => {} ||| \x00", ""),
        ("It broke, I wrote why", "it break i write whi"),
        ("The Children’s indices", "the child index"),
        ("a coloured centre, analysed", "a color center analyz"),
        ("serialisation of what was realised", "serial of what was realiz"),
        ("precise noise in an enterprise", "precis nois in an enterpris"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert analysis.tokens(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getUserById", "get user by id getuserbyid"),
        ("getUsers", "get user getusers getus"),
        ("wrote_log", "write log wrote_log"),
        ("initialiseCache", "initi cach initialisecache initialisecach"),
        ("cacheInitialise", "cach initi cacheinitialise cacheiniti"),
        ("MATRICES", "matrix matrices"),
        ("XMLHttpRequest", "xml http request xmlhttprequest"),
        ("MAX_RETRY_COUNT", "max retri count max_retry_count"),
        ("foo-bar", "foo bar foo-bar"),
        ("a.b.c", "a b c a.b.c"),
        ("src/auth/jwt.ts", "src auth jwt ts jwt.ts auth/jwt.ts"),
        ("__init__", "init __init__"),
        ("std::vec::Vec<T>", "std vec vec t"),
        ("E0308", "e0308"),
        ("TS2345", "ts 2345 ts2345"),
        ("HTTP 502", "http 502"),
        ("ECONNREFUSED", "econnrefus econnrefused"),
        ("utf8 k8s i18n md5", "utf8 k8s i18n md5"),
        ("127.0.0.1:8080", "127 127.0.0.1 8080"),
        ("2026-11-20", "2026 11 20 2026-11-20"),
        ("a1b2c3d4e5f6", "a1b2c3d4e5f6"),
        (
            "0191f6c0-1234-7abc-8def-0123456789ab",
            "0191f6c0 0191f6c0-1234-7abc-8def-0123456789ab",
        ),
    ],
)
def test_code(text: str, expected: str) -> None:
    assert analysis.tokens(text) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("数据库连接", "数据 据库 库连 连接"),
        ("用 React 组件", "用 react 组件"),
        (
            "修复了login模块的NullPointerException。",
            "修复 复了 login 模块 块的 null pointer except nullpointerexception nullpointerexcept",
        ),
        ("こんにちは", "こん んに にち ちは"),
        ("데이터 검색", "데이 이터 검색"),
        ("ｶﾀｶﾅ", "カタ タカ カナ"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_other_scripts(text: str, expected: str) -> None:
    assert analysis.tokens(text) == expected.split()


def test_a_document_also_holds_its_single_characters() -> None:
    analysed = analysis.document("数据库 and 数据")
    assert analysed.indexed.split() == ["数据", "据库", "and", "数据", "数", "据", "库"]
    assert analysed.stored == "数据库 and 数据"
    assert analysed.length == 4


def test_opaque_text_adds_no_words() -> None:
    base64 = "aGVsbG8gd29ybGQhIFRoaXMgaXMgYmFzZTY0IGRhdGEgZm9yIHRlc3Rpbmc"
    assert analysis.tokens(base64) == [base64.lower()]
    assert analysis.tokens(base64 * 8) == []
    assert analysis.tokens("x" * 65) == []


def test_long_documents_keep_head_and_tail() -> None:
    text = "first " + "filler " * 20_000 + "middle " + "filler " * 20_000 + "last"
    found = set(analysis.document(text).indexed.split())
    assert {"first", "last"} <= found
    assert "middl" not in found


@pytest.mark.parametrize("word", ["the", "with", "的", "什么", "库的"])
def test_stop_words(word: str) -> None:
    assert analysis.is_stop_word(analysis.tokens(word)[0])


@pytest.mark.parametrize("word", ["token", "目的", "了解", "数据", "c"])
def test_no_stop_words(word: str) -> None:
    assert not analysis.is_stop_word(analysis.tokens(word)[0])


@given(st.text(max_size=400))
def test_tokens_can_be_joined_and_taken_apart(text: str) -> None:
    analysed = analysis.document(text)
    found = analysed.indexed.split(" ") if analysed.indexed else []
    assert all(token and len(token) <= analysis.MAX_TOKEN_CHARS for token in found)
    assert not set(analysed.indexed) & set('"*\x00\n\t' + string.ascii_uppercase)
    assert analysed.length <= len(found)


@given(st.text(max_size=400))
def test_documents_and_queries_are_read_alike(text: str) -> None:
    analysed = analysis.document(text)
    assert analysed.indexed.split()[: analysed.length] == analysis.tokens(text)


@given(st.text(alphabet="aA1_./-é数据 ", max_size=60))
def test_where_tokens_come_from(text: str) -> None:
    for start, end, tokens in analysis.spans(text):
        assert 0 <= start < end <= len(text)
        assert isinstance(tokens, tuple)
    spanned = {token for _, _, tokens in analysis.spans(text) for token in tokens}
    assert set(analysis.tokens(text)) <= spanned
