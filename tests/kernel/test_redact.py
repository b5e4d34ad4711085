"""Masking: the table of true and false positives, the JSON walk, and what holds for any input."""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_redact_table import A36, ANT, GHP, JWT, NEGATIVES, PEM, POSITIVES

from claude_mem.kernel import redact
from claude_mem.kernel.redact import (
    mask_text,
    mask_tree,
    mask_tree_counted,
    might_hold_secret,
    secret_kind,
)

SURELY = settings(deadline=None, max_examples=300)


# -- around the table: the same forms in other surroundings -----------------------------------


@pytest.mark.parametrize("wrap", ["「{}」", "看{}。", "\n{}\n", "({})", "\t{} ", "→{}←", "😀{}😀"])
@pytest.mark.parametrize(
    "secret", [ANT, GHP, JWT, PEM.format("RSA ")], ids=["ant", "ghp", "jwt", "pem"]
)
def test_masks_in_any_surroundings(wrap: str, secret: str) -> None:
    masked = mask_text(wrap.format(secret))
    assert masked.startswith(wrap.partition("{}")[0])
    assert masked.endswith(wrap.partition("{}")[2])
    assert not _survives(secret, masked)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("secret", [ANT, GHP, JWT, PEM.format(""), "sk-" + A36], ids=str)
def test_masks_in_text_that_was_escaped(secret: str, depth: int) -> None:
    text = f'first line\n{secret}\n"last" line'
    for _ in range(depth):
        text = json.dumps({"output": text})
    masked = mask_text(text)
    assert not _survives(secret, masked)
    for _ in range(depth):
        masked = json.loads(masked)["output"]
    assert masked.startswith("first line\n[masked:")
    assert masked.endswith('\n"last" line')


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "value", ["hunter2", 'hun"ter"2', "hun\\ter2\\", "p,w;d}2", "密码pass1", "a b c"]
)
def test_masks_a_json_password_at_any_depth_of_escaping(value: str, depth: int) -> None:
    text = json.dumps({"password": value, "user": "bob"}, ensure_ascii=False)
    for _ in range(depth):
        text = json.dumps(text, ensure_ascii=False)
    masked = mask_text(text)
    for _ in range(depth):
        masked = json.loads(masked)
    assert json.loads(masked) == {"password": "[masked:password]", "user": "bob"}


def _survives(secret: str, masked: str) -> bool:
    """True if any eight characters in a row of the secret's body are still there."""
    body = secret.replace("PRIVATE KEY", "").replace("-----BEGIN ", "").replace("-----END ", "")
    return any(body[at : at + 8] in masked for at in range(8, len(body) - 8))


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("password", "password"), ("passwd", "password"), ("pwd", "password"),
        ("DB_PASSWORD", "password"), ("userPassword", "password"), ("SMTP_PASS", "password"),
        ("db.password", "password"), ("password2", "password"), ("PASSWORD_PROD", "password"),
        ("secret", "secret"), ("client_secret", "secret"), ("clientSecret", "secret"),
        ("token", "token"), ("access_token", "token"), ("--token", "token"),
        ("api_key", "key"), ("apiKey", "key"), ("APIKEY", "key"), ("x-api-key", "key"),
        ("private_key", "key"), ("aws_secret_access_key", "key"), ("AccountKey", "key"),
        ("authorization", "authorization"), ("cookie", "cookie"), ("Set-Cookie", "cookie"),
        ("数据库密码", "password"), ("密钥", "key"),
        ("token_count", ""), ("max_tokens", ""), ("input_tokens", ""), ("tool_use_id", ""),
        ("session_token_budget", ""), ("password_hash", ""), ("secret_name", ""), ("key", ""),
        ("primary_key", ""), ("public_key", ""), ("cwd", ""), ("bypass", ""), ("compass", ""),
        ("tokenizer", ""), ("pad_token", ""), ("next_token", ""), ("auth", ""), ("author", ""),
        ("", ""), ("...", ""), ("密码长度", ""),
    ],
)  # fmt: skip
def test_names(name: str, kind: str) -> None:
    assert secret_kind(name) == kind


# -- JSON values ------------------------------------------------------------------------------


def test_tree_masks_whole_values_under_secret_names() -> None:
    value = {
        "tool_input": {
            "password": "any words at all", "apiKey": "x", "Authorization": "Bearer abc",
            "token_count": 5, "max_tokens": "4096", "token": 17, "tool_use_id": "toolu_1",
            "secrets": ["a", "b"], "cookie": "sid=1", "client_secret": {"value": "kept open"},
        },
        "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "PORT", "value": "80"}],
    }  # fmt: skip
    before = json.dumps(value)
    masked, counts = mask_tree_counted(value)
    assert masked == {
        "tool_input": {
            "password": "[masked:password]", "apiKey": "[masked:key]",
            "Authorization": "[masked:authorization]", "token_count": 5, "max_tokens": "4096",
            "token": 17, "tool_use_id": "toolu_1", "cookie": "[masked:cookie]",
            "secrets": ["[masked:secret]", "[masked:secret]"],
            "client_secret": {"value": "kept open"},
        },
        "env": [
            {"name": "DB_PASSWORD", "value": "[masked:password]"},
            {"name": "PORT", "value": "80"},
        ],
    }  # fmt: skip
    assert counts == {"password": 2, "key": 1, "authorization": 1, "cookie": 1, "secret": 2}
    assert json.dumps(value) == before
    assert mask_tree(masked) == masked


def test_tree_keeps_what_is_plainly_no_secret_under_a_secret_name() -> None:
    value = {"password": "", "token": "<your-token>", "secret": "${SECRET}", "pwd": "/home/bob/x"}
    assert mask_tree(value) == value


def test_tree_masks_keys_and_keeps_both_values_when_they_collide() -> None:
    masked = mask_tree({"alice@example.com": 1, "alicia@example.com": 2, "ok": [ANT]})
    assert masked == {
        "ali***@example.com": 1,
        "ali***@example.com'": 2,
        "ok": ["[masked:anthropic-key]"],
    }


def test_tree_returns_a_clean_value_as_it_is() -> None:
    value = {"a": ["b", 1, None, True, 2.5, {"c": "d"}]}
    assert mask_tree(value) is value


def test_tree_masks_strings_that_are_only_dirty_on_their_own() -> None:
    """The shared pre-check joins all strings; that must not hide what one of them holds."""
    assert mask_tree(["13800138000", "x", "4111111111111111"]) == ["138****8000", "x", "****1111"]


@pytest.mark.parametrize(
    ("name", "number", "masked"),
    [
        ("num", 13812345678, "138****5678"), ("phone", 13812345678, "138****5678"),
        ("mobileCount", 13812345678, "138****5678"), ("tel", 8613812345678, "86138****5678"),
        ("card", 4111111111111111, "****1111"), ("n", 4111111111111111, "****1111"),
        ("n", 378282246310005, "****0005"), ("cardNumber", 4222222222222, "****2222"),
        ("card_no", 6217000000000000004, "****0004"), ("卡号", 6217000000000000004, "****0004"),
        ("n", 440524188001010014, "440***********0014"),
    ],
)  # fmt: skip
def test_tree_masks_numbers_that_are_a_persons(name: str, number: int, masked: str) -> None:
    assert mask_tree({name: number}) == {name: masked}
    assert mask_tree({name: [1, [number]]}) == {name: [1, [masked]]}
    assert sum(mask_tree_counted({name: number})[1].values()) == 1
    assert mask_tree(mask_tree({name: number})) == {name: masked}


def test_tree_masks_a_number_without_a_name() -> None:
    assert mask_tree(13812345678) == "138****5678"
    assert mask_tree([4111111111111111]) == ["****1111"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("t", 1700000000000), ("t", 1700000000000000), ("t", 1700000000000000000),
        ("n", 1234567890123456789), ("n", 6217000000000000004), ("n", 4222222222222),
        ("n", 12345678901), ("n", 4111111111111112), ("n", 9111111111111111), ("n", 10**30),
        ("n", -13812345678), ("n", 13812345678.0), ("flag", True), ("n", 0),
        ("size", 13812345678), ("total_bytes", 13812345678), ("id", 13812345678),
        ("user_id", 4111111111111111), ("userId", 4111111111111111), ("orderID", 13812345678),
        ("ids", 13812345678), ("createdAt", 13812345678), ("created_at", 13812345678),
        ("duration_ns", 13812345678), ("elapsedNs", 13812345678), ("timestamp", 13812345678),
        ("ts", 4111111111111111), ("seed", 4111111111111111), ("Memory", 13812345678),
    ],
)  # fmt: skip
def test_tree_leaves_numbers_that_are_nobodys(name: str, number: float) -> None:
    value = {name: number, "list": {name: [number]}}
    assert mask_tree_counted(value) == (value, {})


def test_tree_takes_a_number_with_more_digits_than_python_prints() -> None:
    value = {"n": 10**5000, "phone": 13812345678}
    assert mask_tree(value) == {"n": 10**5000, "phone": "138****5678"}


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_tree_drops_what_is_nested_too_deeply(make: Callable[[Any], Any]) -> None:
    value: Any = "alice@example.com"
    for _ in range(100_000):
        value = make(value)
    masked = mask_tree(value)
    for _ in range(redact.MAX_DEPTH):
        masked = masked[0] if isinstance(masked, list) else masked["a"]
    assert masked == "[masked:depth]"


@pytest.mark.parametrize("value", [None, True, 5, 2.5, "", [], {}])
def test_tree_takes_any_scalar(value: Any) -> None:
    assert mask_tree(value) == value


# -- properties -------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(row[1] for row in POSITIVES), *(row[1] for row in NEGATIVES),
        "password", "token=", "密码：", ": ", "=", '"', "\\", "'", "\\n", "<private>", "</private>",
        "[masked:key]", "[private]", "://", "@", "a:b@c.com", "-----BEGIN PRIVATE KEY-----", " ",
        "-----END PRIVATE KEY-----", "eyJ", "sk-", "Bearer ", "138", "0013", "8000", "-", "\x00",
        "\ud800", "İ", "mysql -p", "{", "}", "is ", "--", "\n",
    ]
)  # fmt: skip
ANY_TEXT = st.one_of(
    st.text(st.characters(), max_size=200),
    st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=12).map("".join),
)


@SURELY
@given(ANY_TEXT)
def test_masking_is_idempotent_and_the_pre_check_misses_nothing(text: str) -> None:
    masked = mask_text(text)
    assert mask_text(masked) == masked
    if not might_hold_secret(text):
        assert masked == text


@SURELY
@given(ANY_TEXT, ANY_TEXT)
def test_the_pre_check_of_joined_strings_covers_each_of_them(one: str, two: str) -> None:
    if might_hold_secret(one) or might_hold_secret(two):
        assert might_hold_secret(f"{one}\n{two}")


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), ANY_TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(PIECES, st.sampled_from(["name", "value"])), inner, max_size=4),
    ),
    max_leaves=8,
)


@SURELY
@given(JSON_VALUES)
def test_masking_a_tree_is_idempotent_and_leaves_its_input(value: Any) -> None:
    before = repr(value)
    masked = mask_tree(value)
    assert repr(value) == before
    assert mask_tree(masked) == masked


@SURELY
@given(st.lists(ANY_TEXT, max_size=5))
def test_a_list_is_masked_as_each_of_its_strings_alone(texts: list[str]) -> None:
    assert mask_tree(texts) == [mask_text(text) for text in texts]


BREAKS = st.sampled_from(
    [" ", "\n", "，", "。", "中", "→", "(", ")", '"', "'", "\\n", "\\t", "\t", ";", "|"]
)
SECRETS = st.sampled_from(
    [ANT, GHP, JWT, "sk-" + A36, "AKIA" + "IOSFODNN7EXAMPLE", "glpat-" + A36, "hf_" + A36,
     "sk_live_" + A36, "npm_" + A36, PEM.format("EC "), "DB_PASSWORD=" + A36]
)  # fmt: skip


@SURELY
@given(st.text(max_size=60), BREAKS, SECRETS, BREAKS, st.text(max_size=60))
def test_no_part_of_a_secret_survives(
    before: str, left: str, secret: str, right: str, after: str
) -> None:
    assert not _survives(secret, mask_text(before + left + secret + right + after))


# -- work grows with the length, not faster ---------------------------------------------------

RUNS = [
    "a", "9", "1-", "1 1", "=", "/", "+", ".", "-", "_", '"', "\\", "@", ":", "\n", " ",
    "A9+/=", "eyJ", "eyJa.", "sk-", "sk-a", "<private>", "<private", "</private>", "://", "a://b:",
    "a://b:c@", "a@", "a@b.", "password", "password=", 'password="', "token='x ", "token: ",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n",
    "-----END PRIVATE KEY-----", "Bearer ", "Authorization: ", "Cookie: a=b ", "mysql -u x ",
    "curl -u ", "138", "4111 ", "密码：", "密码", "SG.", "SG.aaaaaaaaaaaaaaaa.", "xoxb-", ":AA",
    "@tcp(", "a:b@tcp(", "\\n", "\\u003c", "password == ", "AIza", "LTAI", "key key ",
]  # fmt: skip


def _calls(text: str) -> int:
    """How many functions, C functions included, masking this text calls."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        mask_text(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("run", RUNS, ids=repr)
def test_the_number_of_steps_is_linear(run: str) -> None:
    mask_text(run * 400)  # compile the patterns first
    small, large = (_calls(run * (size // len(run))) for size in (5_000, 40_000))
    assert large <= 9 * small + 200  # eight times the text


class CountedText(str):
    """A text that adds up how many characters are sliced out of it."""

    __slots__ = ("work",)
    work: int

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        self.work += len(part)
        return part


class CountedPattern:
    """A pattern that adds up how many characters it is matched over."""

    def __init__(self, pattern: re.Pattern[str], work: list[int]) -> None:
        self._pattern, self._work = pattern, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)

    def match(self, *arguments: Any) -> re.Match[str] | None:
        found = self._pattern.match(*arguments)
        self._work.append(found.end() - found.start() if found else 1)
        return found

    def fullmatch(self, *arguments: Any) -> re.Match[str] | None:
        self._work.append(len(arguments[0]))
        return self._pattern.fullmatch(*arguments)


def _characters(text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many characters masking this text slices out or matches over, again and again."""
    compiled, work = redact._pattern, [0]
    counted = CountedText(text)
    counted.work = 0
    with monkeypatch.context() as patch:
        patch.setattr(redact, "_pattern", lambda source: CountedPattern(compiled(source), work))
        mask_text(counted)
    return counted.work + sum(work)


NAMES = [
    "token",
    "secret",
    "password",
    "api_key",
    "TOKEN",
    "cookie",
    "authorization",
    "密码",
    "密钥",
]
SEPARATORS = ["：", ":", "=", "＝", "是", "为", " ", "：`", '="']
FILLINGS = ["", "中文，", "a/", "1/"]


@pytest.mark.parametrize("filling", FILLINGS, ids=ascii)
@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_character_is_looked_at_once_for_every_name_before_it(
    name: str, separator: str, filling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = name + separator + filling
    small, large = (_characters(run * (size // len(run)), monkeypatch) for size in (6_000, 24_000))
    assert large <= 5 * small + 2_000  # four times the text


@pytest.mark.parametrize(
    ("head", "run"),
    [
        ('password="', '\\"'), ('token="', "]"), ('token="1', "pass_"), ("secret=1", "pass"),
        ("token：", "没有空格的中文"), ("TOKEN=", "x{"), ("密码：", "a"), ("token='", '\\\\\\"'),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_long_value_is_looked_at_once(
    head: str, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (
        _characters(head + run * (size // len(run)), monkeypatch) for size in (6_000, 24_000)
    )
    assert large <= 5 * small + 2_000  # four times the text


def test_a_long_secret_is_masked_to_its_end() -> None:
    assert mask_text("TOKEN=" + "aB3" * 2_000 + " end") == "TOKEN=[masked:token] end"
    assert mask_text("secret：" + "aB3" * 2_000 + "，完") == "secret：[masked:secret]，完"


@pytest.mark.parametrize("run", RUNS, ids=repr)
def test_long_runs_are_taken(run: str) -> None:
    text = run * (100_000 // len(run))
    masked = mask_text(text)
    assert mask_text(masked) == masked
