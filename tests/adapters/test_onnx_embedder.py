"""The model on this machine: right by published values, off the event loop, and gone from memory when it rests."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from claude_mem.adapters.onnx import session as session_module
from claude_mem.adapters.onnx.embedder import OnnxEmbedder, batches
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import DIMENSION, MAX_TOKENS, Precision
from claude_mem.adapters.onnx.processor import adds_up_exactly
from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.vectors import unpack

# The first three are those of the model's own documentation, made by its authors' library; the others were computed once
# from the fp32 graph. A wrong weight, scale or mask moves them by tenths.
PUBLISHED = [
    ("The weather is lovely today.", "It's so sunny outside!", 0.6660),
    ("The weather is lovely today.", "He drove to the stadium.", 0.1046),
    ("It's so sunny outside!", "He drove to the stadium.", 0.1411),
    ("A man is eating food.", "A man is eating a piece of bread.", 0.7553),
    ("A man is eating food.", "A monkey is playing drums.", 0.0476),
    (
        "def parse(line): return json.loads(line)",
        "How do I read a JSON document in Python?",
        0.6180,
    ),
]
SUBJECTS = ["the worker", "a session", "the index", "this migration", "the hook", "a tenant's key"]
DEEDS = [
    "was restarted after it had used too much memory",
    "lost events while the disk was full, and found them again in the spool",
    "returns 429 with Retry-After when more than 600 requests a minute arrive",
    "is rebuilt from the tables by one command, which may take a minute for 100,000 rows",
    "fails: TypeError: 'NoneType' object is not subscriptable (line 41 of reader.py)",
    "hat 会话 的 摘要 nicht gefunden",
]


async def until(happened: Callable[[], bool]) -> None:
    """Wait for it, half a minute at most."""
    for _ in range(6_000):
        if happened():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def cosine(one: bytes, other: bytes) -> float:
    return sum(a * b for a, b in zip(unpack(one), unpack(other), strict=True))


@pytest.fixture
async def fp32(model_folder: ModelFolder) -> AsyncIterator[OnnxEmbedder]:
    made = OnnxEmbedder(model_folder, "fp32")
    yield made
    await made.close()


@pytest.fixture
async def int8(model_folder: ModelFolder) -> AsyncIterator[OnnxEmbedder]:
    made = OnnxEmbedder(model_folder, "int8")
    yield made
    await made.close()


@pytest.fixture
def copy(model_folder: ModelFolder, tmp_path: Path) -> ModelFolder:
    """The int8 model in a folder of the test's own."""
    folder = ModelFolder(tmp_path / "models")
    folder.path.mkdir(parents=True)
    for name in ("manifest.json", "tokenizer.json", "model-int8.onnx"):
        shutil.copyfile(model_folder.path / name, folder.path / name)
    return folder


@pytest.mark.parametrize(("one", "other", "expected"), PUBLISHED)
async def test_cosines_are_the_published_ones(
    fp32: OnnxEmbedder, one: str, other: str, expected: float
) -> None:
    found = cosine(*await fp32.documents([one, other]))
    assert found == pytest.approx(expected, abs=0.0005)


async def test_whole_numbers_come_near(fp32: OnnxEmbedder, int8: OnnxEmbedder) -> None:
    texts = [f"{subject} {deed}" for subject in SUBJECTS for deed in DEEDS]
    exact, near = await fp32.documents(texts), await int8.documents(texts)
    cosines = [cosine(a, b) for a, b in zip(exact, near, strict=True)]
    assert sum(cosines) / len(cosines) >= 0.99
    assert min(cosines) >= 0.975
    assert max(cosines) < 0.9999, "they are not the same model"


async def test_neither_order_nor_company_changes_a_vector(fp32: OnnxEmbedder) -> None:
    texts = [f"{SUBJECTS[0]} {deed} " * (1 + number) for number, deed in enumerate(DEEDS)]
    together = await fp32.documents(texts)
    backwards = await fp32.documents(texts[::-1])
    for text, one, other in zip(texts, together, backwards[::-1], strict=True):
        (alone,) = await fp32.documents([text])
        assert cosine(one, other) == pytest.approx(1, abs=1e-5)
        assert cosine(one, alone) == pytest.approx(1, abs=1e-5)


async def test_what_is_too_long_is_cut_at_256_tokens(fp32: OnnxEmbedder) -> None:
    words = ["apple", "stone"] * 127  # with begin and end 256
    whole, longer = " ".join(words), " ".join([*words, *["river"] * 300])
    assert cosine(*await fp32.documents([whole, longer])) == pytest.approx(1, abs=1e-5)
    shorter = " ".join([*words[:100], "river"])
    assert cosine(*await fp32.documents([whole, shorter])) < 0.99


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_vectors_of_the_two_precisions_are_never_compared(
    model_folder: ModelFolder, precision: Precision
) -> None:
    model = OnnxEmbedder(model_folder, precision).state().model
    assert model is not None
    assert model.dimension == DIMENSION
    assert model.name == {"fp32": "all-MiniLM-L6-v2", "int8": "all-MiniLM-L6-v2/int8"}[precision]


def test_batches_are_small_and_of_like_lengths() -> None:
    lengths = [3, 200, 4, 256, 5, *[10] * 9, 60, 60, 60, 60, 60]
    found = list(batches(lengths))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= 8
        assert len(batch) == 1 or len(batch) * max(lengths[it] for it in batch) <= MAX_TOKENS
    longest = [max(lengths[it] for it in batch) for batch in found]
    assert longest == sorted(longest)
    assert len(found) == 6
    assert list(batches([])) == []


async def test_nothing_is_loaded_before_the_first_use(int8: OnnxEmbedder) -> None:
    assert int8.state().ready
    assert not int8.loaded
    assert await int8.documents([]) == []
    await int8.query("now")
    assert int8.loaded


class Watched(session_module.Session):
    """Notes which threads work, and keeps documents waiting while `gate` is closed."""

    threads: set[str] = set()  # noqa: RUF012 - set by each test
    gate = threading.Event()
    waiting = threading.Event()

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[bytes]:
        name = threading.current_thread().name
        self.threads.add(name.rpartition("_")[0])
        if name.startswith("embed-documents"):
            self.waiting.set()
            assert self.gate.wait(20)
        return super().vectors(batch)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    Watched.threads, Watched.gate, Watched.waiting = set(), threading.Event(), threading.Event()
    monkeypatch.setattr(session_module, "Session", Watched)
    return Watched


async def test_a_question_does_not_wait_for_documents_and_the_event_loop_for_neither(
    int8: OnnxEmbedder, watched: type[Watched]
) -> None:
    documents = asyncio.create_task(int8.documents(["a long wait"] * 40))
    await until(watched.waiting.is_set)  # the loop goes on meanwhile
    await asyncio.wait_for(int8.query("a question"), 20)
    assert not documents.done()
    watched.gate.set()
    assert len(await documents) == 40
    assert watched.threads == {"embed-documents", "embed-questions"}


async def test_the_model_is_let_go_of_after_a_rest_and_loaded_again(
    model_folder: ModelFolder,
) -> None:
    released: list[bool] = []  # whether the model was in memory
    embedder = OnnxEmbedder(
        model_folder, "int8", rest_s=0.01, released=lambda: released.append(embedder.loaded)
    )
    first = await embedder.query("the same question")
    await until(lambda: len(released) == 2)
    assert not embedder.loaded
    assert await embedder.query("the same question") == first
    await embedder.close()


async def test_a_model_in_use_is_not_let_go_of(
    model_folder: ModelFolder, watched: type[Watched]
) -> None:
    embedder = OnnxEmbedder(model_folder, "int8", rest_s=0.001)
    documents = asyncio.create_task(embedder.documents(["a long wait"]))
    await until(watched.waiting.is_set)
    await embedder.query("a question")
    await asyncio.sleep(0.05)
    assert embedder.loaded
    watched.gate.set()
    await documents
    await until(lambda: not embedder.loaded)
    await embedder.close()


async def test_without_a_model_it_says_how_to_get_one(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(ModelFolder(tmp_path), "int8")
    assert not embedder.state().ready
    assert "claude-mem model install" in embedder.state().reason
    for asked in (embedder.documents(["x"]), embedder.query("x")):
        with pytest.raises(Unavailable, match="claude-mem model install"):
            await asked
    await embedder.close()


async def test_a_model_that_appears_is_used_without_a_restart(
    copy: ModelFolder, tmp_path: Path
) -> None:
    folder = ModelFolder(tmp_path / "later")
    embedder = OnnxEmbedder(folder, "int8")
    with pytest.raises(Unavailable):
        await embedder.query("x")
    copy.path.parent.rename(tmp_path / "later")
    assert embedder.state().ready
    assert len(await embedder.query("x")) == DIMENSION * 4
    await embedder.close()


def flip(path: Path) -> None:
    """One bit of one byte in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("name", ["model-int8.onnx", "tokenizer.json"])
async def test_one_wrong_bit_is_found_before_it_is_loaded(
    copy: ModelFolder, name: str, model_folder: ModelFolder
) -> None:
    flip(copy.path / name)
    embedder = OnnxEmbedder(copy, "int8")
    with pytest.raises(Unavailable, match=f"{name} is damaged: claude-mem model install"):
        await embedder.query("x")
    assert not embedder.state().ready
    assert "damaged" in embedder.state().reason
    shutil.copyfile(model_folder.path / name, copy.path / name)
    assert embedder.state().ready
    await embedder.query("x")
    await embedder.close()


@pytest.mark.parametrize("name", ["model-int8.onnx", "tokenizer.json"])
@pytest.mark.parametrize("left", [0, 1000])
def test_half_a_file_is_seen_at_once(copy: ModelFolder, name: str, left: int) -> None:
    with (copy.path / name).open("r+b") as file:
        file.truncate(left)
    assert "damaged" in OnnxEmbedder(copy, "int8").state().reason


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"files": []}', '{"files": {"a": 1}}'])
def test_without_a_whole_manifest_it_was_never_finished(
    copy: ModelFolder, text: str | None
) -> None:
    path = copy.path / "manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert "not written to its end" in OnnxEmbedder(copy, "int8").state().reason


def test_another_precision_says_how_to_get_it(copy: ModelFolder) -> None:
    (copy.path / "model-fp32.onnx").unlink(missing_ok=True)
    reason = OnnxEmbedder(copy, "fp32").state().reason
    assert "claude-mem model install" in reason


async def test_files_that_are_as_written_and_no_model_are_said_to_be_so(copy: ModelFolder) -> None:
    copy.keep({"model-int8.onnx": b"no graph"}, {})
    embedder = OnnxEmbedder(copy, "int8")
    assert embedder.state().ready
    with pytest.raises(Unavailable, match="cannot be loaded"):
        await embedder.documents(["x"])
    assert "--force" in embedder.state().reason
    await embedder.close()


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_vnni\nmodel name: X\n" * 2, True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\nflags\t\t: fpu avx2\n", False),  # one of two kinds of core
        (
            "flags\t\t: fpu avx2 amx_int8\n",
            False,
        ),  # without the instructions that those have who have it
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_a_processor_is_trusted_to_add_up_by_what_it_says(
    text: str, exact: bool, tmp_path: Path
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(text)
    assert adds_up_exactly(told) is exact
    assert not adds_up_exactly(tmp_path / "nothing")


def test_vectors_are_the_same_whichever_way_this_processor_adds_up(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it says that it adds up exactly, it does; elsewhere both ways are one."""
    graph, texts = model_folder.graph("int8"), [f"{it} {deed}" for it in SUBJECTS for deed in DEEDS]
    as_is = session_module.Session(graph, model_folder.tokenizer, 1)
    monkeypatch.setattr(session_module, "adds_up_exactly", lambda: False)
    careful = session_module.Session(graph, model_folder.tokenizer, 1)
    for text in texts:
        one, other = (it.vectors([it.tokens(text)])[0] for it in (as_is, careful))
        assert cosine(one, other) == pytest.approx(1.0, abs=1e-5)
