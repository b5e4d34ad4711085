"""Make the one self-contained file that is the installed hook.

The fast path (`main`) becomes the program; the slow path (masking, spool, starting the worker)
rides along as one text that is only compiled when the worker is away. Docstrings and annotations
are taken out: they cost start-up time. For the same reason a copy of the slow path lies beside the
hook, where Python keeps it compiled; the hook works without it.
"""

import ast
import hashlib
import importlib.util
import os
from pathlib import Path

import claude_mem
from claude_mem.hook.home import make_private_folder, write_private

# In the order in which they import each other; joined into one namespace.
SLOW_MODULES = (
    "claude_mem.kernel.redact",
    "claude_mem.hook.cut",
    "claude_mem.hook.outline",
    "claude_mem.hook.optout",
    "claude_mem.hook.append",
    "claude_mem.hook.launch",
    "claude_mem.hook.recall",
    "claude_mem.hook.fallback",
)

_PARSES = 5
_HEADER = """\
# Claude-Mem {version}: the hook Claude Code runs for each event. Generated: `claude-mem install`
# writes it anew. Standard library only; reads stdin and its own data folder; always exits 0.
"""


def render_hook(version: str = claude_mem.__version__) -> str:
    """The text of the installed `hook.py`."""
    slow = render_slow_path()
    values = {"VERSION": version, "SLOW_PATH": slow, "SLOW_NAME": slow_name(slow)}
    tree = _stripped(_source_of("claude_mem.hook.main"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            node.value = ast.Constant(values[name]) if name in values else node.value
    tree.body += ast.parse("import sys\nmain(sys.argv)").body
    return _HEADER.format(version=version) + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def render_slow_path() -> str:
    """The slow path's modules as one text. Raises ValueError when two define the same name."""
    body: list[ast.stmt] = []
    seen: dict[str, str] = {}
    for module in SLOW_MODULES:
        for node in _stripped(_source_of(module)).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("claude_mem."):
                continue
            for name in _defined(node):
                if seen.setdefault(name, module) != module:
                    raise ValueError(f"{name} is defined in {seen[name]} and in {module}")
            body.append(node)
    return ast.unparse(ast.Module(body=body, type_ignores=[])) + "\n"


def slow_name(text: str) -> str:
    """The name of the slow path's copy: by its content, so that an upgrade never mixes two."""
    return "slow_" + hashlib.sha256(text.encode()).hexdigest()[:12]


def write_hook(folder: Path, version: str = claude_mem.__version__) -> Path:
    """Write `hook/hook.py`, `hook/VERSION` and the slow path's copy in a data folder, atomically.

    Returns the path of `hook.py`. A hook that runs meanwhile is the old or the new one.
    """
    home = make_private_folder(folder / "hook")
    slow = render_slow_path()
    copy = home / f"{slow_name(slow)}.py"
    write_private(copy, slow)
    write_private(home / "hook.py", render_hook(version), mode=0o700)
    write_private(home / "VERSION", version + "\n")
    for old in [*home.glob("slow_*.py"), *home.glob("__pycache__/*.pyc")]:
        if not old.name.startswith(copy.stem):
            old.unlink(missing_ok=True)
    return home / "hook.py"


def installed_version(folder: Path) -> str | None:
    """The version of the hook in a data folder, None when there is none."""
    try:
        return (folder / "hook" / "VERSION").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _source_of(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
        raise FileNotFoundError(f"the source of {name} is not installed")
    return Path(spec.origin).read_text(encoding="utf-8")


def _parsed(source: str) -> ast.Module:
    """CPython 3.11 counts the depth of all parsers of a process as one, and refuses a sound source when another thread
    parses, or garbage is collected, at the wrong moment (mended in 3.12): so it is asked again.
    """
    for _ in range(_PARSES):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)


def _stripped(source: str) -> ast.Module:
    tree = _parsed(source)
    _Stripper().visit(tree)
    return tree


def _defined(node: ast.stmt) -> list[str]:
    """The names a top-level statement defines; imports aside, they mean the same everywhere."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets = [name for target in node.targets for name in ast.walk(target)]
        return [name.id for name in targets if isinstance(name, ast.Name)]
    return []


class _Stripper(ast.NodeTransformer):
    """Takes out docstrings, annotations and `from __future__` imports."""

    def _strip_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self._strip_body(node)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._strip_body(node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._strip_body(node)
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node
