"""A cross-encoder on this machine: a real graph, made here, of which the score of a text is the sum of its tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from claude_mem.adapters.rerank.onnx import OnnxReranker
from claude_mem.kernel.errors import Unavailable

pytestmark = pytest.mark.anyio
WORDS = ["[UNK]", "[CLS]", "[SEP]", "rivers", "tokens", "refresh", "login"]


def graph(path: Path, *, columns: int = 1) -> None:
    """Of each row the sum of (id * mask * type): the tokens of the text alone, for the question is of type 0."""
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [helper.make_tensor_value_info(it, TensorProto.INT64, ["n", "t"]) for it in names]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", columns])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Mul", ["masked", "token_type_ids"], ["texts"]),
        helper.make_node("Cast", ["texts"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["sum"], keepdims=1),
    ]
    if columns == 1:
        nodes.append(helper.make_node("Identity", ["sum"], ["logits"]))
    else:
        nodes.append(helper.make_node("Neg", ["sum"], ["less"]))
        parts = ["less", "sum"] if columns == 2 else ["sum"] * columns
        nodes.append(helper.make_node("Concat", parts, ["logits"], axis=1))
    made = helper.make_graph(nodes, "sum", inputs, [output], [axes])
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(made, opset_imports=opset, ir_version=8), str(path / "model.onnx"))


def tokenizer(path: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    made.save(str(path / "tokenizer.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph(tmp_path)
    tokenizer(tmp_path)
    return tmp_path


async def test_a_score_a_text_in_their_order(folder: Path) -> None:
    reranker = OnnxReranker(folder)
    texts = ["rivers", "refresh tokens", "", "login", *["tokens"] * 20, "rivers " * 900]
    found = await reranker.rerank("login tokens", texts)
    assert found[:4] == [5.0, 11.0, 2.0, 8.0]
    assert found[4:24] == [6.0] * 20
    assert 0 < found[24] < 3 * 512  # cut to what the model reads
    assert await reranker.rerank("x", []) == []
    assert len(await reranker.rerank("a\ud800", ["b\udfff 🎉"])) == 1
    await reranker.close()
    with pytest.raises(Unavailable, match="stopping"):
        await reranker.rerank("x", ["y"])


async def test_two_logits_are_for_and_against(folder: Path) -> None:
    graph(folder, columns=2)
    reranker = OnnxReranker(folder)
    assert await reranker.rerank("login", ["rivers", "tokens"]) == [10.0, 12.0]
    await reranker.close()


async def test_a_graph_of_something_else_is_unavailable(folder: Path) -> None:
    graph(folder, columns=3)
    reranker = OnnxReranker(folder)
    with pytest.raises(Unavailable, match="cannot read"):
        await reranker.rerank("login", ["rivers"])
    await reranker.close()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
async def test_what_is_missing_or_broken_is_told_and_may_be_mended(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    reranker = OnnxReranker(folder)
    with pytest.raises(Unavailable, match=name):
        await reranker.rerank("login", ["rivers"])
    (folder / name).write_bytes(b"broken")
    os.utime(folder / name, ns=(1, 1))
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be loaded"):
            await reranker.rerank("login", ["rivers"])
    (folder / name).write_bytes(whole)
    assert await reranker.rerank("login", ["rivers"]) == [5.0]
    await reranker.close()


def test_building_it_loads_nothing(folder: Path) -> None:
    program = (
        "import sys, pathlib; from claude_mem.adapters.rerank.onnx import OnnxReranker;"
        f"OnnxReranker(pathlib.Path({str(folder)!r}));"
        "print([it for it in ('numpy', 'onnxruntime', 'tokenizers', 'httpx') if it in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout.strip() == b"[]"
