"""Whoever touches a tenant's data says first for whom: `scope` leads in services, repositories and ports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Without a scope on purpose, with the reason.
EXCEPTIONS = {
    "access/service.py:make_local_organisation": "makes the enterprise that a scope would name",
    "access/repository.py:make_enterprise": "makes the enterprise that a scope would name",
    "access/service.py:LocalTokens.authenticate": "finds the scope",
    "capture/service.py:CaptureService.drain": "works for every enterprise; each batch in its own scope",
    "capture/service.py:CaptureService.drain_all": "works for every enterprise; each batch in its own scope",
    "memory/repository/journal.py:Journal.add": "made with a scope",
    "memory/service.py:exported_tables": "names of tables; touches no data",
    "ops/service.py:LiveService.close": "touches no data",
    "ports/inbox.py:Inbox.take": "hands out every enterprise's entries, each with its enterprise",
    "ports/inbox.py:Inbox.ack": "by positions, which are every enterprise's",
    "ports/inbox.py:Inbox.bury": "the entry carries its enterprise",
    "ports/inbox.py:Inbox.return_dead_letter": "the letter carries its enterprise",
    "ports/inbox.py:Inbox.pending": "a number for the process",
    "ports/inbox.py:Inbox.wait": "touches no data",
    "ports/inbox.py:Inbox.close": "touches no data",
    "ports/inbox.py:Inbox.maintain": "gives space back; touches no entry",
    "ports/database.py:Database.close": "touches no data",
    "ports/bus.py:Bus.close": "touches no data",
    "ports/cache.py:Cache.close": "touches no data",
    "ports/limits.py:Limiter.hit": "counts for callers who are not known yet, too; the owner leads",
    "ports/limits.py:Limiter.close": "touches no data",
    "ports/limits.py:Meter.allowance": "pure",
    "ports/queue.py:Queue.claim": "takes due jobs of every enterprise, each with its enterprise",
    "ports/queue.py:Queue.complete": "the job carries its enterprise",
    "ports/queue.py:Queue.fail": "the job carries its enterprise",
    "ports/queue.py:Queue.defer": "the job carries its enterprise",
    "ports/tenants.py:Tenants.ids": "tells which scopes there are",
    "retrieval/service.py:SearchService.meaning": "of the words of a question; touches no data",
    "context/service.py:ContextService.meaning": "of the words of a prompt; touches no data",
    "ports/embedder.py:Embedder.state": "touches no data",
    "ports/embedder.py:Embedder.documents": "a text and what it means are the caller's; nothing is kept",
    "ports/embedder.py:Embedder.query": "a text and what it means are the caller's; nothing is kept",
    "ports/embedder.py:Embedder.close": "touches no data",
    "ports/reranker.py:Reranker.rerank": "a question and texts are the caller's; nothing is kept",
    "ports/reranker.py:Reranker.close": "touches no data",
    "ports/candidates.py:BoundedSearch.run": "made with a plan, for one enterprise",
    "ports/candidates.py:BoundedSearch.newest": "made with a plan, for one enterprise",
    "ports/candidates.py:CommonWords.frequency": "by the enterprise's id",
    "ports/candidates.py:CommonWords.note": "by the enterprise's id",
    "ports/vectors.py:pack": "pure",
    "ports/vectors.py:unpack": "pure",
    "ports/vectors.py:unit": "pure",
    "ports/vectors.py:check_model": "pure",
    "ports/vectors.py:check_limit": "pure",
}


def modules(root: Path) -> dict[str, Path]:
    source = root / "src" / "claude_mem"
    found = {
        str(path.relative_to(source / "domains")): path
        for pattern in ("*/service.py", "*/repository.py", "*/repository/*.py")
        for path in (source / "domains").glob(pattern)
    }
    return found | {str(path.relative_to(source)): path for path in (source / "ports").glob("*.py")}


def functions(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """(name, function, is a method) of everything public."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, False
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, True


def faults(name: str, tree: ast.Module) -> Iterator[str]:
    for function, node, is_method in functions(tree):
        decorators = {ast.unparse(it) for it in node.decorator_list}
        if decorators & {"property", "staticmethod", "classmethod"}:
            continue
        parameters = [it.arg for it in (*node.args.posonlyargs, *node.args.args)]
        if is_method:
            parameters = parameters[1:]
        if (
            parameters[:1] != ["scope"]
            or ast.unparse(node.args.args[1 if is_method else 0].annotation or node) != "Scope"
        ):
            yield f"{name}:{function}"


def test_scope_leads_everywhere(root: Path) -> None:
    found = modules(root)
    assert len(found) >= 10
    wrong = {
        fault
        for name, path in found.items()
        for fault in faults(name, ast.parse(path.read_text(encoding="utf-8")))
    }
    assert wrong - set(EXCEPTIONS) == set(), "scope must come first, or an exception needs a reason"
    assert set(EXCEPTIONS) - wrong == set(), "an exception that is none any more"


@pytest.mark.parametrize(
    "text",
    [
        "def read(tx: Tx, scope: Scope) -> None: ...",
        "def read(tx: Tx) -> None: ...",
        "async def read(*, scope: Scope) -> None: ...",
        "def read(scope: str) -> None: ...",
        "class A:\n    def read(self, tx: Tx) -> None: ...",
    ],
)
def test_a_fault_would_be_seen(text: str) -> None:
    assert list(faults("x.py", ast.parse(text)))


def test_a_transaction_never_comes_without_its_scope(root: Path) -> None:
    """Also of private helpers of repositories that build queries over a tenant's tables: their caller's scope, or
    nothing of a tenant.
    """
    allowed = {"_rows", "make_enterprise", "make_local_organisation"}
    for name, path in modules(root).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Function) and "ports" not in name:
                parameters = [it.arg for it in node.args.args]
                if "tx" in parameters and "scope" not in parameters:
                    assert node.name in allowed or _is_inner_work(parameters), f"{name}:{node.name}"


def _is_inner_work(parameters: list[str]) -> bool:
    """A unit of work: a function of the transaction alone, inside one that has the scope."""
    return parameters == ["tx"]
