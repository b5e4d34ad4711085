"""The scorer of the retrieval benchmark, its baseline, and how question sets are read."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from bench.retrieval import scoring
from bench.retrieval.baseline import Bm25
from bench.retrieval.data import sets
from bench.retrieval.product import Product
from hypothesis import given
from hypothesis import strategies as st

_IDS = [f"d{n}" for n in range(30)]


@given(st.permutations(_IDS), st.sets(st.sampled_from(_IDS), min_size=1, max_size=8))
def test_deeper_is_never_worse_and_everything_is_a_share(
    ranking: list[str], relevant: set[str]
) -> None:
    found = scoring.measures(ranking, relevant)
    assert all(0 <= value <= 1 for value in found.values())
    for kind in ("any", "all", "fraction"):
        assert found[f"{kind}@1"] <= found[f"{kind}@5"] <= found[f"{kind}@10"]
    for k in scoring.KS:
        assert found[f"all@{k}"] <= found[f"fraction@{k}"] <= found[f"any@{k}"]


def test_by_hand() -> None:
    found = scoring.measures(["x", "a", "y", "z", "b", "w"], {"a", "b"})
    assert (found["any@1"], found["any@5"], found["all@5"], found["fraction@1"]) == (0, 1, 1, 0)
    assert found["mrr"] == 0.5
    # (1/log2(3) + 1/log2(6)) / (1 + 1/log2(3))
    assert found["ndcg@10"] == pytest.approx(0.6241, abs=1e-4)
    nothing = scoring.measures([], {"a"})
    assert set(nothing.values()) == {0.0}
    assert scoring.measures(["a"], {"a"})["ndcg@10"] == 1.0


def test_a_doubled_id_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        scoring.measures(["a", "a"], {"a"})


def test_shuffled_rankings_are_worth_what_chance_is() -> None:
    chance = random.Random(3)
    rows = []
    for _ in range(4_000):
        ranking = _IDS.copy()
        chance.shuffle(ranking)
        rows.append(scoring.measures(ranking, {"d1", "d2", "d3"}))
    measured, expected = scoring.mean(rows), scoring.at_random(len(_IDS), 3)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=0.03), name


def test_an_interval_holds_the_mean_and_narrows_with_more() -> None:
    few, many = [0.0, 1.0] * 20, [0.0, 1.0] * 2_000
    for values in (few, many):
        low, high = scoring.interval(values)
        assert low < 0.5 < high
    assert scoring.interval(many)[1] - scoring.interval(many)[0] < 0.1
    assert scoring.interval([]) == (0.0, 0.0)


def test_groups_stand_where_their_first_is() -> None:
    groups = {"a": "s1", "b": "s2", "c": "s1"}
    assert scoring.grouped(["c", "b", "a", "unknown"], groups) == ["s1", "s2"]


def test_the_baseline_ranks_words_and_pairs_of_characters() -> None:
    index = Bm25(
        ["The cache was slow", "缓存服务在夜间重启", "caching layers and caches of the cache", ""]
    )
    assert index.rank("why is the cache slow?", 5)[0] == 0
    assert index.rank("夜间重启", 5) == [1]
    assert index.rank("the of", 5) == []
    assert index.rank("cache", 5, frozenset({2})) == [2]


def test_a_set_is_read_packed_or_plain(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    row = {
        "id": "a/1",
        "text": "Hello",
        "speaker": "Ada",
        "time": "2023-05-08T13:56",
        "caption": "a cat",
    }
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    question = {"qid": "q", "query": "Who?", "relevant": ["a/1"]}
    (folder / "queries.jsonl").write_text(json.dumps(question) + "\n")
    for where in (tmp_path, folder):
        [data] = sets(where)
        assert [(one.speaker, one.at) for one in data.said] == [("Ada", 1683554161000)]
        assert "a cat" in data.said[0].text
        assert data.questions[0].relevant == {"a/1"}
        assert set(data.hashes) == {"corpus.jsonl.gz", "queries.jsonl"}


def test_where_there_is_no_set_it_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"corpus\.jsonl"):
        sets(tmp_path)


def _event(number: int, kind: str, data: dict[str, object]) -> dict[str, object]:
    return {
        "id": f"e{number}",
        "text": str(data),
        "session": "s",
        "conv": "shop",
        "time": "2026-03-03T10:00:00",
        "kind": kind,
        "data": data,
    }


def _events() -> list[dict[str, object]]:
    command = {"command": "make deploy"}
    return [
        _event(1, "prompt.submitted", {"content": "Deploy the shop."}),
        _event(2, "tool.failed", {"tool": "Bash", "input": command, "error": "quota exceeded"}),
        _event(3, "tool.used", {"tool": "Bash", "input": command, "response": {"stdout": "ok"}}),
        _event(4, "assistant.replied", {"content": "The registry was full."}),
    ]


def _write(folder: Path, rows: list[dict[str, object]], question: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text(json.dumps(question))


def test_events_and_labels_are_read_as_they_are(tmp_path: Path) -> None:
    question = {"qid": "q", "query": "quota?", "relevant": ["e2"], "labels": ["en", "easy"]}
    _write(tmp_path / "one", _events(), question)
    [data] = sets(tmp_path)
    assert [one.kind for one in data.said][1:3] == ["tool.failed", "tool.used"]
    assert data.said[1].data["error"] == "quota exceeded"
    assert data.questions[0].labels == ("en", "easy")


@pytest.mark.slow
@pytest.mark.local
def test_calls_are_found_in_a_set_with_events_and_only_prompts_without(tmp_path: Path) -> None:
    question = {"qid": "q", "query": "quota?", "relevant": ["e2"]}
    _write(tmp_path / "events", _events(), question)
    said = [{"id": "said", "text": "The quota was raised."}]
    _write(tmp_path / "said", said, question | {"relevant": ["said"]})
    events, plain = sets(tmp_path)
    with Product(None) as product:
        product.remember(events.said)
        assert product.ask("quota exceeded", 10) == ["e2"]
        assert {"e1", "e2", "e3"} <= set(product.ask("make deploy", 10, "shop"))
        product.remember(plain.said)
        assert product.ask("quota", 10) == ["said"]
