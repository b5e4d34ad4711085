"""Start the worker's supervisor from the hook, detached, without waiting for it.

Must never hold the client's pipes (it would wait for them to close) and never hand the agent's
environment on as a whole: it carries secrets of the agent's own. Part of the installed hook.
"""

import json
import os

from claude_mem.hook.append import is_due

HEAL_SECONDS = 30
# What a worker needs of the environment it is started from.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "CLAUDE_CONFIG_DIR")
PASSED_ON_PREFIXES = ("LC_", "XDG_", "CLAUDE_MEM_")


def start_if_needed(folder: str, event: str, why: Exception | None) -> None:
    """Start the worker on SessionStart when none answers, else only to mend a crash.

    A missing door means "stopped", which is a person's choice until the next session. A door where
    nobody listens, or where the connection breaks, means that the worker died, its supervisor
    perhaps too: then any event starts it again, once in `HEAL_SECONDS`; harmless when one runs. A
    worker that is merely slow (timeout, refusal) is left alone.
    """
    if not isinstance(why, (FileNotFoundError, ConnectionError)):
        return
    crashed = os.path.exists(folder + "/door")
    if event == "SessionStart" or (crashed and is_due(folder + "/hook/.launched", HEAL_SECONDS)):
        start(folder)


def start(folder: str) -> None:
    """Run the command of `<data>/hook/launch.json` ({"argv": [...], "env": {...}}) as a daemon.

    Raises OSError, ValueError, LookupError or TypeError when the plan is missing or no plan, or
    its program is not there.
    """
    with open(folder + "/hook/launch.json", encoding="utf-8") as file:
        plan = json.load(file)
    argv = [str(part) for part in plan["argv"]]
    env = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    env.update(plan.get("env", {}))
    if not os.access(argv[0], os.X_OK):
        raise FileNotFoundError(argv[0])
    child = os.fork()
    if child:
        os.waitpid(child, 0)  # the first child only forks again, so this is short
        return
    try:
        _become_daemon(folder, argv, env)
    finally:
        os._exit(127)


def _become_daemon(folder: str, argv: list[str], env: dict[str, str]) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, 1024)
    os.chdir(folder)
    os.execve(argv[0], argv, env)  # noqa: S606 - the command that install wrote, no shell
