"""GET /search/suggest: what is completed from what is remembered, on both profiles."""

from __future__ import annotations

from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin

pytestmark = pytest.mark.anyio


def said(api: Api, text: str, **changes: Any) -> dict[str, Any]:
    return api.event(data={"content": text}, **changes)


def edited(api: Api, path: str) -> dict[str, Any]:
    data = {
        "tool": "Edit",
        "tool_use_id": f"toolu_{path}",
        "input": {"file_path": path, "old_string": "a", "new_string": "b"},
        "response": "done",
    }
    return api.event("tool.used", data=data)


async def remember(api: Api) -> None:
    texts = [
        "Rotate the refresh tokens: getUserById loses the refresh_token_hash",
        "Tokenizer or token bucket? The Tokenizer splits what the token bucket holds",
        "登录令牌过期以后要求用户重新登录令牌",
        "刷新登录令牌失败",
        "A résumé with Ünïcode and the Überprüfung of it",
        "The colour broke",
    ]
    await api.take(
        *[said(api, text, session=f"s{at}") for at, text in enumerate(texts)],
        edited(api, "src/auth/jwt_rotation.ts"),
    )


async def suggested(api: Api, q: str, **more: Any) -> list[tuple[str, str, str]]:
    body = await api.get("/search/suggest", q=q, **more)
    assert body["query"] == q
    assert body["took_ms"] >= 0
    return [(it["text"], it["kind"], it["match"]) for it in body["suggestions"]]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("toke", ("Tokenizer", "word", "prefix")),
        ("Rotate the re", ("Rotate the refresh", "word", "prefix")),
        ("refr", ("refresh_token_hash", "identifier", "prefix")),
        ("getus", ("getUserById", "identifier", "prefix")),
        ("user", ("getUserById", "identifier", "inside")),
        ("token_h", ("refresh_token_hash", "identifier", "inside")),
        ("jwt", ("src/auth/jwt_rotation.ts", "file", "prefix")),
        ("auth/jw", ("src/auth/jwt_rotation.ts", "file", "inside")),
        ("src/au", ("src/auth/jwt_rotation.ts", "file", "prefix")),
        ("edi", ("Edit", "tool", "prefix")),
        ("登录", ("登录令牌", "word", "prefix")),
        ("令", ("令牌", "word", "prefix")),
        ("token 登", ("token 登录令牌", "word", "prefix")),
        ("刷新登", ("刷新登录令牌失败", "title", "prefix")),
        ("RÉSU", ("résumé", "word", "prefix")),
        ("überp", ("Überprüfung", "word", "prefix")),
        ("brok", ("broke", "word", "prefix")),
        ("colou", ("colour", "word", "prefix")),
        ("tokenzier", ("Tokenizer", "word", "typo")),
        ("rotaet", ("Rotate", "word", "typo")),
        (
            "token buc",
            (
                "Tokenizer or token bucket? The Tokenizer splits what the token bucket holds",
                "title",
                "inside",
            ),
        ),
    ],
)
async def test_what_is_typed_is_completed(api: Api, q: str, expected: tuple[str, ...]) -> None:
    await remember(api)
    assert expected in await suggested(api, q)


async def test_what_begins_so_comes_first_and_no_kind_takes_every_place(api: Api) -> None:
    words = [f"tok{letter}word" for letter in "abcdefghijklmnop"]
    await api.take(*[said(api, f"about {word}", session=f"s{word}") for word in words])
    await api.take(edited(api, "lib/tokens.py"), said(api, "broken tokaword", session="t"))
    found = await suggested(api, "tok", limit=9)
    matches = [match for _, _, match in found]
    assert matches == sorted(matches, key=["prefix", "inside", "typo"].index)
    assert ("lib/tokens.py", "file", "prefix") in found
    assert len({kind for _, kind, _ in found}) >= 3
    assert len(found) == 9


async def test_searching_for_what_was_suggested_finds_something(api: Api) -> None:
    await remember(api)
    for q in ("toke", "refr", "jwt", "登录", "rotate the re"):
        for text, _, _ in await suggested(api, q):
            assert (await api.get("/search", q=text))["results"], text


async def test_the_words_before_are_required(api: Api) -> None:
    await api.take(
        said(api, "the cache holds parsers", session="one"),
        said(api, "the queue holds partitions", session="two"),
    )
    found = await suggested(api, "queue par")
    assert ("queue partitions", "word", "prefix") in found
    assert not [text for text, _, _ in found if "parsers" in text]


async def test_words_that_nobody_wrote_together_are_completed_all_the_same(api: Api) -> None:
    await remember(api)
    assert ("bucket getUserById", "identifier", "prefix") in await suggested(api, "bucket getus")


async def test_only_of_the_project_that_was_named(api: Api) -> None:
    await api.take(
        said(api, "about zebrafish", session="one", project="/home/dev/ledger"),
        said(api, "about zebracrossing", session="two", project="/home/dev/roads"),
    )
    found = await suggested(api, "zebra", project="roads")
    assert ("zebracrossing", "word", "prefix") in found
    assert not [text for text, _, _ in found if "fish" in text]
    assert await suggested(api, "zebra", project="nowhere") == []


async def test_what_was_forgotten_is_not_suggested(api: Api) -> None:
    await api.take(
        said(api, "the zanzibar incident", session="one"), said(api, "else", session="two")
    )
    assert await suggested(api, "zanz")
    sessions = (await api.get("/sessions"))["data"]
    forgotten = next(it["id"] for it in sessions if it["agent_session"] == "one")
    body = {"what": "session", "id": forgotten}
    answer = await api.client.post(f"{API}/forget", json=body)
    assert answer.status_code == 200, answer.text
    assert await suggested(api, "zanz") == []
    assert await suggested(api, "zanzbiar") == []


@pytest.mark.parametrize(
    "q",
    [
        "",
        " ",
        "a",
        "the",
        "🎉",
        "🎉🎉 🎉",
        '"',
        "'",
        "%",
        "_",
        "*",
        "a*b",
        "-- ",
        "../..",
        "\x00\x01\x1f",
        "to\x00ken",
        "x" * 10_000,
        "登" * 7_000,
        "word " * 2_000,
        'NEAR("a b", 5) AND title:x',
        "\u202etoken",
        "İstanbul İ",
        "ﬁ",
        "\\\\server\\sh",
    ],
)
async def test_no_text_is_an_error(api: Api, q: str) -> None:
    await remember(api)
    for text, _, _ in await suggested(api, q):
        assert text.strip()


async def test_half_of_a_character_is_no_error(api: Api) -> None:
    await remember(api)
    answer = await api.client.get(f"{API}/search/suggest?q=toke%ED%A0%80")
    assert answer.status_code == 200


@pytest.mark.parametrize("parameters", [{"limit": 0}, {"limit": 51}, {"q": "x" * 10_001}])
async def test_bounds(api: Api, parameters: dict[str, Any]) -> None:
    refusal(
        await api.client.get(f"{API}/search/suggest", params=parameters), 400, "VALIDATION_ERROR"
    )


async def test_never_of_another_enterprise(api: Api, profile: str) -> None:
    if profile == "local":
        pytest.skip("one enterprise")
    database = api.system.parts.state["database"]
    other = await founding.found(database, Origin(None, None, 1.0), "other", "admin", None)
    await api.take(said(api, "the quicksilver ledger", session="one"))
    theirs = {"authorization": f"Bearer {other.key}"}
    for q in ("quick", "quicksliver", "ledg"):
        assert await suggested(api, q)
        answer = await api.client.get(f"{API}/search/suggest", params={"q": q}, headers=theirs)
        assert answer.json()["suggestions"] == []
