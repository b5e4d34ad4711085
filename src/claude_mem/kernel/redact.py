"""Masking of secrets and personal data in text and in JSON values.

Owns: what counts as a secret or as personal data, and what is left of it. Everything that is
stored, queued, spooled, indexed, logged or sent to a model has passed through here first.

Must never: do I/O, raise on any string, keep a part of a secret, or import anything beyond `re`
and its kin. The *source text* of this file is embedded into the self-contained hook, so it stands
alone (no `claude_mem` import, no `__future__` import) and compiles each pattern on first use.

What is left: a secret becomes `[masked:<kind>]` and is gone for good. Personal data stay partly
visible: `use***@example.com`, `138****5678`, `110***********0014`, `****1111`. A `<private>` block
becomes `[private]`. Masking is idempotent, because the hook and the worker may both mask.

Decisions worth knowing:

- Service addresses (`git@`, `noreply@`, `no-reply@`, ...) name no person and stay.
- A 15-digit identity number has no checksum, so it is masked only after a label (身份证, ID card).
- An unclosed `<private>` hides everything to the end of its text.
- Words after `password:` in running prose stay ("password: must be at least eight characters");
  so do code expressions (`token = get_token()`), types, placeholders and `$VARIABLES`.
- Out of scope: zero-width characters or line breaks inside a key, full-width digits, values that
  were encoded as a whole (base64, percent encoding), YAML block scalars under a secret's name.
"""
# ruff: noqa: SIM905  (word lists read better as text)

import re
import sys
from collections.abc import Callable
from functools import cache, lru_cache

TYPE_CHECKING = False  # importing `typing` would cost the hook start-up time
if TYPE_CHECKING:
    from typing import Any

Counts = dict[str, int]

MAX_DEPTH = 200
"""Nesting below which a JSON value is dropped instead of walked (`[masked:depth]`)."""

_PASSES = 8


def mask_text(text: str) -> str:
    """Return `text` with every secret and all personal data masked. Never raises."""
    return mask_text_counted(text)[0]


def mask_text_counted(text: str) -> tuple[str, Counts]:
    """Like `mask_text`, with the number of maskings by kind.

    Masking repeats until nothing changes, which is what makes it idempotent: a mask may give its
    neighbour a boundary that it did not have before.
    """
    counts: Counts = {}
    return _mask_with(text, _needed(text), counts), counts


def might_hold_secret(text: str) -> bool:
    """Return False only if `mask_text` would change nothing: cheap, and over-inclusive."""
    return bool(_needed(text))


def mask_tree(value: "Any") -> "Any":
    """Return a JSON value (dict, list, scalar) with keys and strings masked; the input is left."""
    return mask_tree_counted(value)[0]


def mask_tree_counted(value: "Any") -> "tuple[Any, Counts]":
    """Like `mask_tree`, with the number of maskings by kind.

    A string under a key that names a secret is masked whole. One look at all strings together
    decides the common case: a clean value is returned as it is, not copied.
    """
    strings: list[str] = []
    named = _collect(value, strings)
    joined = _BETWEEN.join(strings)
    rules = _needed(joined)
    if not named and all(_RULES[rule](joined, {}) == joined for rule in rules):
        return value, {}
    counts: Counts = {}
    return _rebuild(value, rules, counts, 0), counts


# -- the walk over JSON values -------------------------------------------------------------------


# Stands between strings that are looked at together; no pattern reaches across it to leave
# something alone that it would mask in a string of its own.
_BETWEEN = "\n\x00\n"


def _collect(value: object, strings: list[str]) -> bool:
    """Gather every string; True if a key names a secret or the value is nested too deeply."""
    named = False
    layer: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in layer:
            if isinstance(item, str):
                strings.append(item)
            elif isinstance(item, int):
                named = named or _person_number(item, "card", {}) != ""
            elif isinstance(item, dict):
                for key, child in item.items():
                    if isinstance(key, str):
                        strings.append(key)
                        named = named or secret_kind(key) != ""
                    below.append(child)
                named = named or ("value" in item and _pair_kind(item) != "")
            elif isinstance(item, (list, tuple)):
                below.extend(item)
        if not below:
            return named
        layer = below
    return True


def _pair_kind(item: "dict[Any, Any]") -> str:
    """The kind that `{"name": "DB_PASSWORD", "value": "..."}` names, or ""."""
    name = item.get("name") or item.get("key")
    return secret_kind(name) if isinstance(name, str) else ""


def _rebuild(
    value: object, rules: tuple[int, ...], counts: Counts, depth: int, name: str = ""
) -> object:
    """The masked copy of a value; `name` is the key that it, or the list it is in, stands under."""
    if isinstance(value, str):
        return _mask_with(value, rules, counts)
    if isinstance(value, int):
        return _person_number(value, name, counts) or value
    if isinstance(value, dict):
        return _rebuild_dict(value, rules, counts, depth)
    if isinstance(value, (list, tuple)):
        if depth >= MAX_DEPTH:
            return _mask("depth", counts)
        return [_rebuild(item, rules, counts, depth + 1, name) for item in value]
    return value


def _rebuild_dict(
    value: "dict[Any, Any]", rules: tuple[int, ...], counts: Counts, depth: int
) -> object:
    if depth >= MAX_DEPTH:
        return _mask("depth", counts)
    masked: dict[object, object] = {}
    for key, child in value.items():
        kind = secret_kind(key) if isinstance(key, str) else ""
        if not kind and key == "value":
            kind = _pair_kind(value)
        shown = _mask_with(key, rules, counts) if isinstance(key, str) else key
        while shown in masked:  # two keys may look the same once masked; keep both values
            shown = f"{shown}'"
        masked[shown] = (
            _mask_whole(child, kind, rules, counts, depth)
            if kind
            else _rebuild(child, rules, counts, depth + 1, key if isinstance(key, str) else "")
        )
    return masked


def _mask_whole(
    value: object, kind: str, rules: tuple[int, ...], counts: Counts, depth: int
) -> object:
    """Mask a string (or the strings of a list) that stands under a secret's name."""
    if isinstance(value, str):
        return value if _stays(value) else _mask(kind, counts)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return [item if _stays(item) else _mask(kind, counts) for item in value]
    return _rebuild(value, rules, counts, depth + 1)


# -- the engine: cheap cues choose the rules, the rules run until nothing changes ------------------


def _mask(kind: str, counts: Counts) -> str:
    counts[kind] = counts.get(kind, 0) + 1
    return f"[masked:{kind}]"


def _mask_with(text: str, rules: tuple[int, ...], counts: Counts) -> str:
    for _ in range(_PASSES):
        masked = text
        for rule in rules:
            masked = _RULES[rule](masked, counts)
        if masked == text:
            break
        text = masked
        rules = _needed(text)
    return text


@cache  # the patterns of this file, no others
def _pattern(source: str) -> "re.Pattern[str]":
    # The hook may run on an older interpreter, which knows no possessive repeats.
    if sys.version_info < (3, 11):  # noqa: UP036
        source = re.sub(r"(?<!\\)([*+?}])\+", r"\1", source)
    return re.compile(source)


def _lower(text: str) -> str:
    """Lower-case without moving an index (`İ` lowers to two characters)."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return text.translate({upper: upper + 32 for upper in range(65, 91)})


def _needed(text: str) -> tuple[int, ...]:
    """The rules whose cue is in the text, in the order in which they must run."""
    low = _lower(text)
    hit: list[int] = []
    for rule, cues in _CUES:
        for cue in cues:
            if cue in low:
                hit.append(rule)
                break
    if _pattern(_KEY_CUE).search(text):
        hit.append(_PROVIDER_KEYS)
    if _pattern(_OPTION_CUE).search(text):
        hit.append(_COMMAND_LINES)
    if _pattern(_DIGITS_CUE).search(text):
        hit.append(_NUMBERS)
    if _ASSIGNMENTS not in hit and not text.isascii() and any(c in text for c in _LABELS):
        hit.append(_ASSIGNMENTS)
    return tuple(sorted(set(hit)))


Span = tuple[int, int, str]  # start, end, replacement


def _replace(text: str, spans: list[Span]) -> str:
    """Put the replacements in; spans are in order and do not overlap."""
    if not spans:
        return text
    parts: list[str] = []
    done = 0
    for start, end, replacement in spans:
        parts += (text[done:start], replacement)
        done = end
    parts.append(text[done:])
    return "".join(parts)


# -- <private> -----------------------------------------------------------------------------------

_PRIVATE_TAG = (
    r"(?:<|\\u003[cC]|&(?:amp;){0,3}(?:lt|#60|#[xX]3[cC]);)\s{0,3}(/?)\s{0,3}[pP][rR][iI][vV][aA][tT][eE]"
    r"(?:[\s/][^<>]{0,200}?)?(?:>|\\u003[eE]|&(?:amp;){0,3}(?:gt|#62|#[xX]3[eE]);)"
)


def _mask_private(text: str, counts: Counts) -> str:
    spans: list[Span] = []
    depth = start = 0
    for tag in _pattern(_PRIVATE_TAG).finditer(text):
        if not tag[1]:
            start = start if depth else tag.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                spans.append((start, tag.end(), "[private]"))
    if depth:
        spans.append((start, len(text), "[private]"))
    if spans:
        counts["private"] = counts.get("private", 0) + len(spans)
    return _replace(text, spans)


# -- private key blocks ----------------------------------------------------------------------------

_PEM_GAP = r"(?:[\s\"'+,>|]|\\{1,8}[nrt]|[0-9]{1,6}(?:→|[:|]))"
_PEM_HEAD = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM_TAIL = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM_INFO = r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\]{0,200}+"
_PEM_WHOLE = rf"{_PEM_HEAD}[^-]*+(?:-(?!----)[^-]*+)*+{_PEM_TAIL}"
_PEM_CUT = (
    rf"{_PEM_HEAD}(?:{_PEM_GAP}*+(?:{_PEM_INFO}|[A-Za-z0-9+/=]{{16,}}+))*+"
    rf"(?:{_PEM_GAP}*+(?<=[\nnr>|→:])[A-Za-z0-9+/=]{{1,15}}+(?![A-Za-z0-9+/=]))?"
)
_PEM_LONGEST = 20_000
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def _mask_private_keys(text: str, counts: Counts) -> str:
    """Mask whole blocks, blocks cut before their end, and blocks cut after their beginning."""
    spans: list[Span] = []
    done = 0
    for head in _pattern(_PEM_HEAD).finditer(text):
        if head.start() < done:
            continue
        whole = _pattern(_PEM_WHOLE).match(text, head.start())
        if whole is None or whole.end() - whole.start() > _PEM_LONGEST:
            whole = _pattern(_PEM_CUT).match(text, head.start())
        done = whole.end() if whole else head.end()
        spans.append((head.start(), done, _mask("private-key", counts)))
    text = _replace(text, spans)
    spans, done = [], 0
    for tail in _pattern(_PEM_TAIL).finditer(text):
        start = _pem_body_start(text, max(done, tail.start() - _PEM_LONGEST), tail.start())
        done = tail.end()
        spans.append((start, done, _mask("private-key", counts)))
    return _replace(text, spans)


def _pem_body_start(text: str, low: int, high: int) -> int:
    """Walk back from an orphaned END line over the base64 lines above it."""
    start = high
    while True:
        edge = low + len(text[low:start].rstrip(" \t\r\n"))
        body = low + len(text[low:edge].rstrip(_BASE64))
        if edge - body < (16 if start != high else 1) or (body > low and text[body - 1] != "\n"):
            return start
        start = body


# -- keys with a prefix of their own ---------------------------------------------------------------


def _edge(prefix: str, word: str = "A-Za-z0-9") -> str:
    """`prefix` at a left edge, which may also be the end of an escape (`\\n`, `%3D`, colour).

    The prefix comes first and looks back over itself: a pattern that begins with a literal is
    found by a fast scan, one that begins with a look-behind is tried at every character.
    """
    backs = (r"\\[nrtbf]", r"\\u[0-9a-fA-F]{4}", r"%[0-9A-Fa-f]{2}", r"\[[0-9]m", r"\[[0-9]{2}m")
    return f"{prefix}(?:(?<![{word}]{prefix})|" + "|".join(f"(?<={b}{prefix})" for b in backs) + ")"


_TAIL64 = "[A-Za-z0-9_-]"
_HAS_DIGIT = r"(?=[A-Za-z_-]{0,80}[0-9])"
_MIXED = r"(?=[A-Za-z]{0,80}[0-9])(?=[a-z0-9]{0,80}[A-Z])"
_JWT_REST = rf"(?:eyJ{_TAIL64}{{8,}}+|{_TAIL64}*+\.{_TAIL64}{{8,}}+)(?:\.{_TAIL64}*+)*+"
# Stuck to a name (`token_eyJ...`) it is one too; to a letter only where a second JSON part follows: `keyJson.a.b` is
# code. What is stuck has a bounded head, so that a run of beginnings is not read to its end from each of them.
_JWT = (
    rf"{_edge('eyJ', 'A-Za-z0-9_-')}{_TAIL64}{{8,}}+\.{_JWT_REST}"
    rf"|eyJ(?:(?<=[_-]eyJ){_TAIL64}{{8,400}}+\.{_JWT_REST}"
    rf"|{_TAIL64}{{8,400}}+\.eyJ{_TAIL64}{{8,}}+(?:\.{_TAIL64}*+)*+)"
)

_PROVIDERS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("anthropic-key", ("sk-ant-",), rf"sk-ant-{_TAIL64}{{16,}}+"),
    ("openai-key", ("sk-",), rf"{_edge('sk-')}{_HAS_DIGIT}{_TAIL64}{{20,}}+"),
    ("openai-key", ("sess-",), rf"{_edge('sess-')}{_MIXED}[A-Za-z0-9]{{40,}}+(?![_-])"),
    ("github-token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{30,}+"),
    ("github-token", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{22,}+"),
    ("aws-key", ("AKIA", "ASIA"), r"A[KS]IA[A-Z0-9]{16}"),
    ("google-key", ("AIza",), rf"{_edge('AIza')}{_TAIL64}{{35}}"),
    ("google-key", ("ya29.",), rf"ya29\.{_TAIL64}{{20,}}+"),
    ("google-key", ("GOCSPX-",), rf"GOCSPX-{_TAIL64}{{20,}}+"),
    ("slack-token", ("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{10,}+"),
    ("slack-token", ("xapp-",), r"xapp-[0-9]-[A-Za-z0-9-]{10,}+"),
    ("stripe-key", ("k_live_", "k_test_"), rf"{_edge('[sr]k_(?:live|test)_')}[A-Za-z0-9]{{16,}}+"),
    ("stripe-key", ("whsec_",), r"whsec_[A-Za-z0-9+/=]{16,}+"),
    ("npm-token", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    ("pypi-token", ("pypi-",), rf"pypi-A{_TAIL64}{{40,}}+"),
    ("claude-mem-key", ("cm_sk_",), rf"cm_sk_{_TAIL64}{{20,}}+"),
    ("gitlab-token", ("glpat-",), r"glpat-[A-Za-z0-9_.-]{20,}+"),
    ("huggingface-token", ("hf_",), r"hf_[A-Za-z0-9]{30,}+"),
    ("sendgrid-key", ("SG.",), rf"SG\.{_TAIL64}{{16,64}}\.{_TAIL64}{{16,64}}"),
    ("telegram-token", (":AA",), rf"[0-9]{{8,10}}:AA{_TAIL64}{{33}}"),
    ("digitalocean-token", ("_v1_",), r"do[opr]_v1_[a-f0-9]{64}"),
    ("databricks-token", ("dapi",), r"dapi[a-f0-9]{32}(?:-[0-9])?"),
    ("alibaba-key", ("LTAI",), rf"{_edge('LTAI')}[A-Za-z0-9]{{12,26}}"),
    ("tencent-key", ("AKID",), rf"{_edge('AKID')}[A-Za-z0-9]{{13,40}}"),
    (
        "api-key",
        ("gsk_", "xai-", "pplx-", "lin_api_", "figd_", "ntn_", "shpat_", "dckr_pat_", "r8_"),
        r"(?:gsk_|xai-|pplx-|lin_api_|figd_|ntn_|shpat_|dckr_pat_|r8_)"
        rf"{_HAS_DIGIT}{_TAIL64}{{24,}}+",
    ),
    ("jwt", ("eyJ",), _JWT),
    (
        "webhook",
        ("hooks.slack.com/", "/api/webhooks/", "/bot/v2/hook/", "/webhook/send?key="),
        r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9_/-]{16,}+"
        r"|(?<=/api/webhooks/)[0-9]{6,24}/[A-Za-z0-9_-]{16,}+"
        r"|(?<=/bot/v2/hook/)[A-Za-z0-9-]{16,}+|(?<=/webhook/send\?key=)[A-Za-z0-9-]{16,}+",
    ),
)

# One scan instead of thirty: rare characters of the prefixes, then a look around each. Every branch
# begins with a literal, so that the scan skips ahead by a character set.
_BODY_AHEAD = r"(?=[A-Za-z0-9_+/=-]{10})"
_KEY_CUE = (
    rf"_{_BODY_AHEAD}(?:(?<=gh[pousr]_)|(?<=npm_)|(?<=(?:gsk|ntn)_)|(?<=(?:hf|r8)_)|(?<=k_live_)"
    r"|(?<=k_test_)|(?<=whsec_)|(?<=_v1_)|(?<=cm_sk_)|(?<=_pat_)|(?<=lin_api_)|(?<=figd_)"
    rf"|(?<=shpat_))|-{_BODY_AHEAD}(?:(?<=sk-)|(?<=sess-)|(?<=xox[abeoprs]-)|(?<=xapp-)|(?<=pypi-)"
    r"|(?<=glpat-)|(?<=xai-)|(?<=pplx-)|(?<=GOCSPX-))"
    r"|A(?:KIA|SIA|Iza|KID|A(?<=:AA))|LTAI|SG\.|J(?<=eyJ)"
)


def _mask_provider_keys(text: str, counts: Counts) -> str:
    for kind, cues, source in _PROVIDERS:
        if any(cue in text for cue in cues):
            text, found = _pattern(source).subn(f"[masked:{kind}]", text)
            if found:
                counts[kind] = counts.get(kind, 0) + found
    return text


# -- connection strings: scheme://user:password@host -----------------------------------------------

_USER = r"[^\s:/\[\"'`<>，。；、（）]{0,256}+:"
_AUTHORITY = r"(?:[^\s\"'`<>\\]|\\(?![nrtu\"']))++"
_PORT = r"[0-9]{1,5}(?:[/?#,;)\]}>\"'\\\s]|[^\x00-\x7f]|$)"
_PASSWORD_LONGEST = 1024


def _mask_connection_strings(text: str, counts: Counts) -> str:
    spans: list[Span] = []
    at = text.find("://")
    while at >= 0:
        after = at + 3
        user = _pattern(_USER).match(text, after)
        following = text.find("://", after, after + 256 + _PASSWORD_LONGEST)
        if user:
            high = following if following >= 0 else user.end() + _PASSWORD_LONGEST
            end = _password_end(text, user.end(), high)
            if end:
                spans.append((user.end(), end, _mask("password", counts)))
                after = end
        at = following if following >= after else text.find("://", after)
    return _replace(text, spans)


def _password_end(text: str, start: int, high: int) -> int:
    """Where the password ends: at the last `@` of the run, for it may hold `@`, `/` and `:`."""
    run = _pattern(_AUTHORITY).match(text, start, high)
    end = text.rfind("@", start, run.end()) if run else -1
    if end <= start or _pattern(_PORT).match(text, start) or _is_placeholder(text[start:end], True):
        return 0
    return end


def _mask_driver_strings(text: str, counts: Counts) -> str:
    """`user:password@tcp(host)`, the form of Go's database drivers."""
    spans: list[Span] = []
    done = 0
    for door in _pattern(r"@(?:tcp|unix)\(").finditer(text):
        low = max(done, door.start() - 256)
        run = _pattern(r"[\s\"'`=]").split(text[low : door.start()])[-1]
        colon = run.find(":")
        done = door.end()
        password = run[colon + 1 :]
        if colon > 0 and password and not _is_placeholder(password, True):
            start = door.start() - len(password)
            spans.append((start, door.start(), _mask("password", counts)))
    return _replace(text, spans)


# -- bearer tokens and command lines ---------------------------------------------------------------

_BEARER = (
    r"([Bb][Ee][Aa][Rr][Ee][Rr])([ \t]{1,4})(?=[A-Za-z._~+/=-]{0,80}[0-9])[A-Za-z0-9._~+/=-]{12,}+"
)
_COMMANDS = (
    r"(?:mysql|mariadb)[a-z]*[ \t](?:[^\n|;]{0,300}?[ \t])?-p(?P<a>[\"']?)(?P<mysql>[^\s\"']+)"
    r"|curl[ \t](?:[^\n|;]{0,300}?[ \t])?(?:-u[ \t]?|--user[ \t=])[\"']?[^\s:\"'/]{1,128}+:"
    r"(?P<curl>[^\s\"'\\]+)"
    r"|(?:sshpass[ \t]+-p|redis-cli[ \t](?:[^\n|;]{0,300}?[ \t])?-a"
    r"|docker[ \t]+login[ \t](?:[^\n|;]{0,300}?[ \t])?-p"
    r"|mongo[a-z]*[ \t](?:[^\n|;]{0,300}?[ \t])?-p)"
    r"[ \t]*[\"']?(?P<other>[^\s\"'\\-][^\s\"'\\]*)"
)


_OTHER_COMMANDS = ("sshpass", "redis-cli", "docker", "mongo")
_OPTION_CUE = r"-(?<=[ \t]-)(?:[pau]|-user)"


def _mask_bearers(text: str, counts: Counts) -> str:
    text, found = _pattern(_BEARER).subn(r"\1\2[masked:bearer-token]", text)
    if found:
        counts["bearer-token"] = counts.get("bearer-token", 0) + found
    return text


def _mask_commands(text: str, counts: Counts) -> str:
    if not any(name in text for name in ("mysql", "mariadb", "curl", *_OTHER_COMMANDS)):
        return text
    spans: list[Span] = []
    for command in _pattern(_COMMANDS).finditer(text):
        group = command.lastgroup or ""
        if not _is_placeholder(command[group], False):
            spans.append((*command.span(group), _mask("password", counts)))
    return _replace(text, spans)


# -- names that stand before a secret --------------------------------------------------------------

_LABELS = {"密码": "password", "口令": "password", "密钥": "key", "秘钥": "key", "令牌": "token"}
_STEMS = ("key", "pass", "token", "secret", "pwd", "cookie", "authorization", "_auth")
_KEY_OWNERS = (
    "api|access|secret|private|signing|encryption|account|master|auth|shared|service|deploy"
    "|license|app|client"
).split("|")
_ENDINGS = (
    *((ending, "password") for ending in ("password", "passwd", "passphrase", "passcode", "pwd")),
    ("secret", "secret"),
    ("token", "token"),
    *((f"{owner}key", "key") for owner in _KEY_OWNERS),
    *((ending, "cookie") for ending in ("cookie", "cookies")),
    ("authorization", "authorization"),
    ("passwords", "password"),
    ("secrets", "secret"),
    ("apikeys", "key"),
    ("secretkeybase", "key"),  # Rails
)
_PASS_OWNERS = frozenset(
    "db mysql pg redis smtp mail user admin root ftp ssh auth http proxy mongo sudo key".split()
)
_NOT_TOKENS = frozenset(
    "input output pad eos bos unk cls sep mask stop special next prev previous current last first"
    " start end page continuation per".split()
)
_SUFFIXES = frozenset(
    "prod production dev staging test live local old new backup primary secondary value str"
    " base64 b64 plain plaintext".split()
)


@lru_cache(maxsize=4096)
def secret_kind(name: str) -> str:
    """The kind of secret that a key, variable or label names, or "" if it names none.

    The *last* words decide: `api_key` and `clientSecret` name a secret, `token_count`,
    `max_tokens`, `tool_use_id` and `password_hash` do not.
    """
    if len(name) > 128 or "[masked:" in name:
        return ""
    if not name.isascii():
        return next((kind for label, kind in _LABELS.items() if name.endswith(label)), "")
    words = [w.lower() for w in _pattern("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+").findall(name)]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _SUFFIXES):
        words.pop()
    if not words:
        return ""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "pass":
        return "password" if not before or before in _PASS_OWNERS else ""
    if last == "token" and before in _NOT_TOKENS:
        return ""
    if words == ["auth"] and name.startswith("_"):  # npm's `_auth`; `auth` says how, not what
        return "token"
    squashed = "".join(words)
    return next((kind for ending, kind in _ENDINGS if squashed.endswith(ending)), "")


# -- values: what is a secret, what is only code or a placeholder ----------------------------------

_PLACEHOLDER = (
    r"\[(?:masked:[a-z-]+|private|redacted|REDACTED|hidden|filtered|FILTERED)\]"
    r"|\*+|[xX]{3,}|[.…•·_-]+|<[^<>]*>|\$\{[^}]*\}|\$\([^)]*\)|\$[A-Z_][A-Z0-9_]*|\$[a-z_]+"
    r"|%[A-Z_]+%|%s|%\([a-z_]+\)s|\{\{.*\}\}|\{[A-Za-z_.]*\}|#\{[^}]*\}|`[^`]*`"
    r"|(?:your|insert|enter)[-_ ](?:[a-z]+[-_ ]){0,4}[a-z]+|YOUR_[A-Z_]+|\|[-+]?|>-?"
)
_PLACEHOLDER_HEAD = r"\[masked:|\$\{|\{|\$[A-Z_]+(?![a-z])|\*{3}|%s|[xX]{3,}(?:$|[^0-9A-Za-z])"
_REFERENCE = r"\[masked:|\[private\]|\$[({]|\{\{|<"
_WORDS = frozenset(
    "none null nil true false undefined yes no on off str string bytes int integer number bool"
    " boolean any object optional required text varchar char secretstr include omit same-origin"
    " redacted hidden placeholder unset empty self this await new lambda not if else return"
    " const let var type void unknown never option result value val".split()
)
_PROSE = frozenset(
    "to is for and or the option options flag flags arguments via only with in must argument"
    " parameter as if when from was not can should will are has may instead on of at by".split()
)
_CODE = (
    r"[!&*]?[A-Za-z_$][A-Za-z0-9_$]*(?:(?:\?\.|\.|::|->)[A-Za-z_$][A-Za-z0-9_$]*)*\??[(\[]"
    r"|[A-Za-z_$]+(?:(?:\?\.|\.|::|->)[A-Za-z_$]+)+\)*$|[\[({@&\\]|f[\"']"
)
_NAME_SHAPED = r"[a-z]+(?:_[a-z]+)+|[a-z]+(?:[A-Z][a-z]+)+|[A-Z]+(?:_[A-Z]+)+|(?:[A-Z][a-z]+){2,}"
_STEM_NAMED = r"[A-Za-z_]*(?:pass|pwd|pw|secret|token|key|cookie|cred)[A-Za-z_]*"
_WORDS_OF_LABELS = (
    r"(?i)secret|token|key|pass|credential|enter|please|optional|required|must|should|your|[:?]$"
)
_BACKTICKED_CODE = (  # a call, a dotted name, a command: `make_token(32)`, `openssl rand -hex 32`
    r"(?:await |new )?[A-Za-z_$][A-Za-z0-9_$]*(?:(?:\.|::|->)[A-Za-z_$][A-Za-z0-9_$]*)*\(.*\)[;)]*"
    r"|[A-Za-z_$]+(?:(?:\.|::|->)[A-Za-z_$]+)+"
    r"|(?:openssl|cat|echo|printf|head|pwgen|uuidgen|python3?|node|op|vault|aws|gcloud|kubectl) .*"
)
_PATH = (
    r"(?:~|\.{1,2})/|[A-Za-z]:\\|/(?:home|Users|etc|var|tmp|usr|opt|run|root|srv|mnt|app|data|proc"
    r"|dev|private|workspace)(?:/|$)|https?://"
)


def _is_placeholder(value: str, head: bool) -> bool:
    if len(value) > 80 and not head:
        return False
    if head and _pattern(_PLACEHOLDER_HEAD).match(value):
        return True
    return len(value) <= 80 and bool(_pattern(_PLACEHOLDER).fullmatch(value))


def _stays(value: str) -> bool:
    """True for a value under a secret's name that is plainly not the secret itself."""
    bare = value.strip()
    if not bare or bare.lower() in _WORDS or _is_placeholder(bare, False):
        return True
    if bare.startswith(("Bearer ", "Basic ", "Token ")):
        return _is_placeholder(bare.split(" ", 1)[1].strip(), False)
    return bool(_pattern(_PATH).match(bare))


def _is_name(value: str) -> bool:
    """True for what looks like the name of a field or of a variable; none is that long."""
    return len(value) <= 128 and bool(
        _pattern(f"(?:{_NAME_SHAPED}|{_STEM_NAMED})").fullmatch(value)
    )


def _quoted_is_secret(value: str, kind: str) -> bool:
    if _stays(value) or (not value.isascii() and not _pattern("[A-Za-z0-9]").search(value)):
        return False
    if kind == "password":
        return True
    if any(space in value for space in " \t"):
        if kind == "secret":  # a phrase, unless it speaks of secrets, as a label does
            return _pattern(_WORDS_OF_LABELS).search(value) is None
        return kind == "cookie" and "=" in value
    if _is_name(value):
        return False  # the name of a field
    if _pattern(r"#[0-9A-Fa-f]{3,8}").fullmatch(value):
        return False  # a colour
    if "(?" in value or "[^" in value:
        return False  # a regular expression
    if 0 <= value.find("]") < max(value.rfind("*"), value.rfind("+")):
        return False  # a regular expression with a set of characters
    return len(value) >= 6 and not (value.isalpha() and len(value) < 20 and value.islower())


def _bare_is_secret(value: str, kind: str, style: str, rest: str) -> bool:
    """Judge an unquoted value by where it stands; `rest` is the text right after it."""
    core = value.rstrip(",;")
    if _pattern(_REFERENCE).match(core) or _stays(core):
        return False
    if style in ("env", "query"):
        return not _pattern(_STEM_NAMED + r"\(.*").fullmatch(core)
    word = core.rstrip(".)")
    if style == "flag":
        return not (word in _PROSE or (word.isupper() and word.replace("_", "").isalpha()))
    if _pattern(_CODE).match(core) or rest.startswith(("(", "[")):
        return False
    if _is_name(word):
        return False
    if word.isalpha() and _pattern(r"[ \t]+[A-Za-z\u4e00-\u9fff]").match(rest):
        return False
    if style == "strong" or (style == "code" and kind != "password"):
        digit, other = _pattern("[0-9]").search(word), _pattern("[^0-9.]").search(word)
        return len(word) >= 6 and digit is not None and other is not None
    if kind == "password":
        return len(word) >= 4 or not word.isalpha()
    return not _pattern("[0-9][0-9_.,]*[kKmM%]?").fullmatch(word) and not word[0].isupper()


# -- assignments -----------------------------------------------------------------------------------

_NAME_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_TAIL = (
    r"(?P<name>密码|口令|密钥|秘钥|令牌|[A-Za-z0-9_-]{1,64}+)(?P<close>\\{0,8}[\"'`]\]?)?"
    r"(?P<sep>[ \t]{0,32}+(?:"
    r"(?P<typed>:[ \t]{0,3}[A-Za-z_][A-Za-z0-9_.\[\]|?]{0,40}+(?:[ \t]?\|[ \t]?[A-Za-z]{1,20}+)?"
    r"[ \t]{0,3}=(?=[ \t]{0,3}[bBrRuUfF]{0,2}\\{0,8}[\"'`]))"
    r"|:=|=>|[=!]==?|=|:|：|＝|是|为)[ \t]{0,32}+"
    r"|[ \t]{1,8}(?:is|was)[ \t:]{1,4}|[ \t]{1,8}|\((?=\\{0,8}[\"']))"
)
_QUOTE = r"[bBrRuUfF]{0,2}(\\{0,8})(\"\"\"|'''|[\"'`])"
# An unquoted value ends where Chinese, Japanese or Korean begins: what follows is prose.
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_WIDE = rf"(?:[^\s\"'`\\{_CJK}]|\\(?![nrtu\"']))++"
_NARROW = rf"(?:[^\s\"'`\\,;&|)}}\]<>{_CJK}]|\\(?![nrtu\"']))++"
_QUERY = rf"[^\s\"'`\\,;&#|)}}\]<>{_CJK}]++"
_ASCII_RUN = r"[!-~]++"
_HEAD_LONGEST = 256
_COOKIES = r"[A-Za-z0-9_.-]{1,64}=[^\r\n\"'`\\]++"
_SCHEME = r"(?i:(?:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256)[ \t]+)?"
_NETRC = (
    r"(?:\bmachine(?:\s|\\n){1,8}[^\s\\]{1,128}|\bdefault)(?:\s|\\n){1,8}"
    r"login(?:\s|\\n){1,8}[^\s\\]{1,128}(?:\s|\\n){1,8}$"
)
_CREDENTIAL = r"[^\r\n\"'`\\<>${}\[]{6,}+"
_LONE_CREDENTIAL = rf"(?=[^\s0-9]{{0,80}}[0-9])[^\s\"'`\\<>${{}}\[{_CJK}]{{6,1024}}+(?=[ \t]{{0,8}}(?:$|[\r\n\"'`\\]))"


def _mask_assignments(text: str, counts: Counts) -> str:
    low = _lower(text)
    spots: list[int] = []
    for stem in (*_STEMS, *_LABELS):
        at = low.find(stem)
        while at >= 0:
            spots.append(at)
            at = low.find(stem, at + len(stem))
    spots.sort()
    spans: list[Span] = []
    done = 0
    for spot in spots:
        if spot >= done:
            found = _assignment(text, spot, done)
            if found:
                start, end, kind = found
                spans.append((start, end, _mask(kind, counts)))
                done = end
    return _replace(text, spans)


def _assignment(text: str, spot: int, low: int) -> tuple[int, int, str] | None:
    """The value that is assigned to the name around `spot`: (start, end, kind)."""
    tail = _pattern(_TAIL).match(text, spot)
    if tail is None:
        return None
    before = text[max(low, spot - 64) : spot]
    start = spot - len(before) + len(before.rstrip(_NAME_CHARS))
    if start and text[start - 1] == "\\" and start < spot:
        start += 1  # the `n` of an escaped line break is no part of the name
    name = text[start : tail.end("name")]
    kind = secret_kind(name)
    if not kind:
        return None
    if kind == "authorization":
        return _header_value(text, tail.end(), tail["sep"].strip())
    quote = _pattern(_QUOTE).match(text, tail.end())
    if quote:
        return _quoted_value(text, quote, name, kind, tail)
    if kind == "cookie":
        pairs = _pattern(_COOKIES).match(text, tail.end()) if ":" in tail["sep"] else None
        return (*pairs.span(), kind) if pairs else None
    return _bare_value(text, start, name, kind, tail)


def _header_value(text: str, at: int, separator: str) -> tuple[int, int, str] | None:
    """`Authorization: <scheme> <credential>`: the scheme stays."""
    if separator not in (":", "=", "=>"):
        return None
    quote = _pattern(_QUOTE).match(text, at)
    at = quote.end() if quote else at
    scheme = _pattern(_SCHEME).match(text, at)
    if scheme and scheme[0]:
        value = _pattern(_CREDENTIAL).match(text, scheme.end())
    else:
        value = _pattern(_LONE_CREDENTIAL).match(text, at)
    return (*value.span(), "authorization") if value else None


def _quoted_value(
    text: str, quote: "re.Match[str]", name: str, kind: str, tail: "re.Match[str]"
) -> tuple[int, int, str] | None:
    separator = tail["sep"].strip()
    if not separator and not name.startswith("-") and kind != "password":
        return None  # "unexpected token '}'"
    if separator == "(" and "password" not in name.lower():
        return None
    start = quote.end()
    end = _quote_end(text, start, len(quote[1]), quote[2])
    value = text[start:end]
    if separator == "(" and (" " in value or value.endswith(":")):
        return None  # a prompt: getpass("Password: ")
    if name.lower() == "pass" and not separator:
        return None
    if not tail["close"] and _closes_a_string(text, quote.start(), quote[2]):
        return None
    if quote[2] == "`" and _is_backticked_code(value):
        return None
    return (start, end, kind) if _quoted_is_secret(value, kind) else None


def _is_backticked_code(value: str) -> bool:
    """True for code between backticks, which explain a value where other quotes would hold it."""
    return len(value) <= 256 and bool(_pattern(_BACKTICKED_CODE).fullmatch(value))


def _closes_a_string(text: str, at: int, quote: str) -> bool:
    """True for the second quote of `print("token: " + token)`: the label is inside the string."""
    if not _pattern(r"[\"'`]+[ \t]*(?:[)\],;}+%.:]|$|\n)").match(text, at):
        return False
    low = max(0, at - 2000)
    line = max(low, text.rfind("\n", low, at) + 1)
    return text.count(quote, line, at) % 2 == 1


def _quote_end(text: str, at: int, depth: int, quote: str) -> int:
    """Index of the end of a quoted value whose quotes carry `depth` backslashes.

    In text that was escaped `n` times a closing quote carries 2^n - 1 backslashes and a quote
    inside the value carries more; the run of backslashes modulo 2^(n+1) tells them apart. An
    unclosed value ends with its line.
    """
    line = text.find("\n", at) if len(quote) == 1 else -1
    high = line if line >= 0 else len(text)
    found = text.find(quote, at, high)
    while found >= 0:
        first = found  # of the backslashes; a slice for each quote would make the walk quadratic
        while first > at and text[first - 1] == "\\":
            first -= 1
        if (found - first) % (2 * (depth + 1)) == depth:
            return found - depth
        found = text.find(quote, found + 1, high)
    return high


def _bare_value(
    text: str, start: int, name: str, kind: str, tail: "re.Match[str]"
) -> tuple[int, int, str] | None:
    style = _style(text, start, name, tail)
    if not style or (name.lower() == "pass" and style in ("line", "code")):  # "pass: 12, fail: 3"
        return None
    source = _WIDE if style in ("env", "flag", "line") else _NARROW
    source = _QUERY if style == "query" else source
    if not name.isascii():
        source = _ASCII_RUN
    # The head is judged alone: a value that is left costs no more than its head, however long its
    # line is, and one that is masked is masked to its end.
    high = tail.end() + _HEAD_LONGEST
    head = _pattern(source).match(text, tail.end(), high)
    if head is None:
        return None
    rest = "" if head.end() == high else text[head.end() : head.end() + 40]
    if not _bare_is_secret(head[0], kind, style, rest):
        return None
    value = _pattern(source).match(text, tail.end()) or head
    return (*value.span(), kind)


def _style(text: str, start: int, name: str, tail: "re.Match[str]") -> str:
    """How the assignment is written, which decides where a bare value ends and how to judge it."""
    separator = tail["sep"].strip(" \t:") if " is" in tail["sep"] else tail["sep"].strip()
    ahead = text[max(0, start - 64) : start]
    if not separator:
        return _style_of_words(text, start, name, tail.end())
    if separator in ("==", "===", "!=", "!==", "(") or tail["typed"]:
        return ""
    if separator in ("is", "was"):
        return "strong" if tail["name"] and secret_kind(name) == "password" else ""
    if not name.isascii():
        return "line"
    if ahead.endswith(":") and separator == ":":
        return ""  # a part of a longer name: arn:aws:secretsmanager:...:secret:name
    if separator == "=" and tail["sep"] == "=":
        if ahead.endswith(("?", "&")):
            return "query"
        if name.startswith("-"):
            return "flag"
        if name.upper() == name:
            return "env"
    if separator == ":" and tail["sep"] == ":" and name.upper() == name and len(name) > 3:
        return "line"
    margin = ahead.rstrip(" \t")
    line_start = not margin or margin.endswith(("\n", "\\n", "\n-", "→"))
    return "line" if line_start and (separator == ":" or tail["sep"] == "=") else "code"


def _style_of_words(text: str, start: int, name: str, at: int) -> str:
    """The style of a name and a value with nothing but a space between them."""
    if name.startswith("-"):
        return "" if text.startswith("-", at) else "flag"
    if name == "password" and _pattern(_NETRC).search(text[max(0, start - 200) : start]):
        return "env"
    return "" if name.isascii() else "strong"


# -- e-mail addresses ------------------------------------------------------------------------------

_LOCAL_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_DOMAIN = r"@((?:[A-Za-z0-9-]{1,63}+\.)+)([A-Za-z]{2,24})(?![A-Za-z0-9_(-])"
_SERVICE_USERS = frozenset(
    "git hg svn noreply no-reply donotreply do-not-reply no_reply mailer-daemon".split()
)
_NOT_DOMAINS = frozenset(
    "js jsx ts tsx mjs cjs vue json html css png jpg jpeg gif svg webp ico service socket timer"
    " target mount slice scope".split()
)
_NOT_HOST = r"v?[0-9]+\.[0-9]|[0-9]x\.|self\.|localhost\."


def _mask_emails(text: str, counts: Counts) -> str:
    spans: list[Span] = []
    done = 0
    for domain in _pattern(_DOMAIN).finditer(text):
        at = domain.start()
        before = text[max(done, at - 64) : at]
        start = at - len(before) + len(before.rstrip(_LOCAL_CHARS))
        if start and text[start - 1] == "\\" and text[start : start + 1] in "nrt":
            start += 1
        user = text[start:at].lstrip(".-")
        start = at - len(user)
        if not user or user.lower() in _SERVICE_USERS or text[max(0, start - 3) : start] == "://":
            continue
        if domain[2].lower() in _NOT_DOMAINS or _pattern(_NOT_HOST).match(domain[1]):
            continue
        counts["email"] = counts.get("email", 0) + 1
        spans.append((start, at, user[: min(3, len(user) - 1)] + "***"))
        done = domain.end()
    return _replace(text, spans)


# -- numbers: mobile phones, identity numbers, bank cards ------------------------------------------

_DIGITS = (
    r"[0-9](?:(?<![0-9A-Za-z_][0-9])|(?<=\\[nrt][0-9]))(?<![0-9][.:][0-9])(?:[ -]?[0-9]){10,}+[Xx]?"
)
# Every form holds eleven digits in a row, or four, a separator, and four more.
_DIGITS_CUE = r"[0-9][0-9][0-9][0-9](?:[0-9]{7}|[ .-][0-9]{4})"
_DOTTED_MOBILE = (
    r"(?<![0-9A-Za-z_.])(1(?:3[0-9]|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9]))"
    r"\.[0-9]{4}\.([0-9]{4})(?![0-9A-Za-z_-]|\.[0-9])"
)
_VERSION_AHEAD = r"(?i)(?:version|release|build|rev)[\"']?\s{0,3}[:=]?\s{0,3}$"
_MOBILE = (
    r"((?:(?:00)?86[ -]?)?)(1(?:3[0-9]|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9]))"
    r"([ -]?)[0-9]{4}(\3)([0-9]{4})"
)
_NOT_PHONE = (
    r"(?i)(?:size|bytes|offset|length|total|count|inode|memory|limit)[\"']?\s{0,3}[:=]?\s{0,3}$"
)
_PERSON_NAME = (
    r"(?i:phone|mobile|tel(?:ephone)?(?![a-z])|cell(?![a-z])|card|(?<![a-z])pan(?![a-z])|bank"
    r"|identity|手机|电话|卡号|身份证|证件)"
)
# Camel case and snake case alike: `userId`, `user_id`, `ids`, `createdAt`, `size_bytes`, `ns`.
_QUANTITY_NAME = (
    r"(?i:size|byte|offset|length|total|count|inode|memory|limit|time|stamp|date|epoch|duration"
    r"|elapsed|seed|hash|version|serial|sequence|cursor|nonce|amount|balance|price|sum|address"
    r"|used|usage|free|capacity|snowflake|revision|checksum|number_of)"
    r"|(?:(?<![A-Za-z])(?:id|ids|at|ts|ms|us|ns|pid|seq|rss|uid|gid)|(?<![A-Z])ID[sS]?"
    r"|(?<=[a-z])(?:Id|Ids|At|Ts|Ms|Us|Ns))(?![A-Za-z])"
)
_UNIT = r" ?(?:bytes|B|[mnu]s)\b"
_ID_CARD = (
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123])[0-9]{4}(?:(?:18|19|20)[0-9]{2})"
    r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
)
_ID_CARD_GROUPS = r"[0-9]{6}([ -])[0-9]{8}\1[0-9]{3}[0-9Xx]"
_OLD_ID_CARD = (
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[123])[0-9]{6}"
    r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}"
)
_ID_LABEL = r"(?i)(?:身份证|证件号|id[ _-]?card|identity)[^0-9]{0,16}$"
_CARD = (
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}"
    r"|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}"
    r"|62[0-9]{14,17}|9558[0-9]{15}|(?:6011|65[0-9]{2}|64[4-9][0-9])[0-9]{12}"
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
)
_CARD_GROUPS = (
    r"[0-9]{4}(?:([ -])[0-9]{4}(?:\1[0-9]{4}){1,2}(?:\1[0-9]{1,4})?|[ -][0-9]{6}[ -][0-9]{5})"
)
_CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _mask_numbers(text: str, counts: Counts) -> str:
    spans: list[Span] = []
    for run in _pattern(_DIGITS).finditer(text):
        start, end = run.span()
        whole = _number(text, start, end, counts)
        if whole:
            spans.append((start, end, whole))
            continue
        for token in _pattern("[0-9Xx]{11,}").finditer(text, start, end):
            shown = _number(text, token.start(), token.end(), counts)
            if shown:
                spans.append((token.start(), token.end(), shown))
    return _mask_dotted_mobiles(_replace(text, spans), counts)


def _mask_dotted_mobiles(text: str, counts: Counts) -> str:
    spans: list[Span] = []
    for found in _pattern(_DOTTED_MOBILE).finditer(text):
        ahead = text[max(0, found.start() - 24) : found.start()]
        if not _pattern(_VERSION_AHEAD).search(ahead):
            spans.append((*found.span(), f"{found[1]}.****.{found[2]}"))
    if spans:
        counts["phone"] = counts.get("phone", 0) + len(spans)
    return _replace(text, spans)


def _number(text: str, start: int, end: int, counts: Counts) -> str:
    """The masked form of the number at `start:end`, or "" if it is none that names a person."""
    after = text[end : end + 2]
    if after[:1].isascii() and (after[:1].isalnum() or after[:1] == "_"):
        return ""
    if after[:1] == "." and after[1:].isdigit():
        return ""
    shown, value = "", text[start:end]
    mobile = _pattern(_MOBILE).fullmatch(value)
    digits = value.replace(" ", "").replace("-", "")
    ahead = text[max(0, start - 24) : start]
    if mobile:
        if _pattern(_NOT_PHONE).search(ahead) or _pattern(_UNIT).match(text, end):
            return ""
        kind, shown = "phone", f"{mobile[1]}{mobile[2]}{mobile[3]}****{mobile[4]}{mobile[5]}"
    elif _is_id_card(value) or (
        _pattern(_OLD_ID_CARD).fullmatch(value) and _pattern(_ID_LABEL).search(ahead)
    ):
        kind, shown = "id-card", value[:3] + _pattern("[0-9]").sub("*", value[3:-4]) + value[-4:]
    elif (
        _pattern(_CARD).fullmatch(digits)
        and (digits == value or _pattern(_CARD_GROUPS).fullmatch(value))
        and _luhn(digits)
    ):
        kind, shown = "bank-card", "****" + digits[-4:]
    if shown:
        counts[kind] = counts.get(kind, 0) + 1
    return shown


def _person_number(value: int, name: str, counts: Counts) -> str:
    """The masked form of a JSON number under the key `name`, or "" if it may well be no person's.

    A bare number is rarely a phone and often a time, a size or an identifier. A key that says so
    keeps it; and a number as long as a snowflake (17 digits or more), or as short as milliseconds
    (13), is a bank card only under a key that names a card.
    """
    if not 10_000_000_000 <= value < 10_000_000_000_000_000_000:
        return ""
    digits = str(value)
    named = _pattern(_PERSON_NAME).search(name) is not None
    if not named and _pattern(_QUANTITY_NAME).search(name):
        return ""
    counted: Counts = {}
    shown = _number(digits, 0, len(digits), counted)
    if "bank-card" in counted and not named and len(digits) not in (14, 15, 16):
        return ""
    for kind in counted:
        counts[kind] = counts.get(kind, 0) + 1
    return shown


def _is_id_card(value: str) -> bool:
    """GB 11643-1999: region, date of birth, serial number, check character (ISO 7064 mod 11-2)."""
    if _pattern(_ID_CARD_GROUPS).fullmatch(value):
        value = value.replace(value[6], "")
    if not _pattern(_ID_CARD).fullmatch(value):
        return False
    total = sum(int(value[place]) * weight for place, weight in enumerate(_CHECK_WEIGHTS))
    return value[17].upper() == "10X98765432"[total % 11]


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    odd = sum(int(digit) for digit in digits[::-2])
    return (odd + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10 == 0


# -- the table of rules ----------------------------------------------------------------------------

_RULES: tuple[Callable[[str, Counts], str], ...] = (
    _mask_private,
    _mask_private_keys,
    _mask_provider_keys,
    _mask_connection_strings,
    _mask_driver_strings,
    _mask_bearers,
    _mask_commands,
    _mask_assignments,
    _mask_emails,
    _mask_numbers,
)
_PROVIDER_KEYS, _COMMAND_LINES, _ASSIGNMENTS, _NUMBERS = 2, 6, 7, 9
# In lower case; the commonest of a rule first, for the first that is found ends the search.
_CUES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("private",)),
    (1, ("private key",)),
    (_PROVIDER_KEYS, ("ya29.", "dapi", "hooks.slack.com/", "/webhook", "/v2/hook/")),
    (3, ("://",)),
    (4, ("@tcp(", "@unix(")),
    (5, ("bearer",)),
    (_ASSIGNMENTS, _STEMS),
    (8, ("@",)),
)
