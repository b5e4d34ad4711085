"""`claude-mem model`: bring the model that makes vectors on this machine, look at it, remove it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from claude_mem.cli.output import FAILED, emit, fail

if TYPE_CHECKING:
    from claude_mem.app.settings import Settings

group = typer.Typer(
    help="The model that lets search find meanings: bring it, look at it, remove it.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="model")


@group.command("install")
def install(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Take model.safetensors and tokenizer.json from here; nothing is asked of a network.",
        ),
    ] = None,
    precision: Annotated[
        Literal["int8", "fp32", "both"] | None,
        typer.Option(help="Which to make; the one that the settings name when left out."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it anew though it is sound.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep the 91 MB it is made from: another precision needs no network."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Download the model once (84 MB, checked by its SHA-256) and make what runs of it; what is sound stays."""
    from claude_mem.adapters.onnx.pinned import PRECISIONS
    from claude_mem.app.embedders import install_model, model_state
    from claude_mem.cli.progress import told
    from claude_mem.kernel.errors import Unavailable

    settings = _settings(as_json=as_json)
    wanted = PRECISIONS if precision == "both" else (precision,) if precision else ()
    try:
        with told(as_json=as_json) as say:
            done = install_model(
                settings, say, precisions=wanted, folder=folder, force=force, keep=keep
            )
    except Unavailable as error:
        step = (
            "have the files in a folder, then: claude-mem model install --from FOLDER"
            " (docs/embeddings.md); search finds words meanwhile"
        )
        fail(error.message, step, code=error.code, as_json=as_json)
    except OSError as error:
        said = f"{error.filename or 'the model'} cannot be written: {error.strerror or error}"
        fail(said, "free some disk space, or make the folder yours", as_json=as_json)
    state = model_state(settings)
    data = {
        "ok": True,
        "source": done.source,
        "passed_over": list(done.passed_over),
        **state.as_dict(),
    }

    def show(out: Any) -> None:
        for reason in done.passed_over:
            out.print(reason, style="dim", markup=False)
        if done.source is None:
            out.print("The model is there already, and sound.")
        else:
            out.print(
                f"[green]Installed[/] {data['name']} ({', '.join(done.precisions)}) from ", end=""
            )
            out.print(f"{done.source}, in {state.path}", markup=False)

    emit(data, show, as_json)


@group.command("status")
def status(as_json: Json = False) -> None:
    """Whether the model is there and sound, by its SHA-256, and whether the settings use it."""
    from claude_mem.app.embedders import model_state

    state = model_state(_settings(as_json=as_json))
    used = state.provider == "local"
    data = {"ok": not (state.fault and used), **state.as_dict()}

    def show(out: Any) -> None:
        if state.fault:
            out.print("[yellow]Not ready[/]: ", end="")
            out.print(state.fault, markup=False)
        else:
            out.print(
                f"[green]Sound[/]: {data['name']} ({', '.join(state.precisions)}) in ", end=""
            )
            out.print(str(state.path), markup=False)
            out.print(f"{state.bytes / 1e6:.0f} MB, used in {state.precision}")
        if not used:
            out.print(f"Not used: by the settings, vectors are made by: {state.provider}")

    emit(data, show, as_json)
    if not data["ok"]:
        raise typer.Exit(FAILED)


@group.command("remove")
def remove(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the model's files. Search finds words only; nothing that is remembered is lost."""
    from claude_mem.app.embedders import model_folder, remove_model

    settings = _settings(as_json=as_json)
    path = model_folder(settings).path
    if path.exists() and not yes and not _agreed(path):
        step = "claude-mem model remove --yes"
        fail("nothing was removed", step, code="DECLINED", as_json=as_json)
    try:
        data = {"ok": True, "removed": remove_model(settings), "path": str(path)}
    except OSError as error:
        said = f"{path} cannot be removed: {error.strerror or error}"
        fail(said, "make the folder yours", as_json=as_json)
    said = "Removed." if data["removed"] else "There is none."
    emit(data, lambda out: out.print(said), as_json)


def _agreed(path: Path) -> bool:
    return sys.stdin.isatty() and typer.confirm(f"Remove {path}?", default=False)


def _settings(*, as_json: bool) -> Settings:
    from claude_mem.app.settings import load
    from claude_mem.kernel.errors import Invalid

    try:
        return load()
    except Invalid as error:
        fail(error.message, "correct that setting", code=error.code, as_json=as_json)
