"""`zmqueue work module:app`: a worker for the tasks of an app."""

from __future__ import annotations

import math
import os
import pkgutil
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmqueue
from zmqueue.cli.common import USAGE, fail, print_json, say

MIB = 1 << 20
KILL_S = 5                                 # a worker that is restarted has this long beyond its grace


@dataclass(frozen=True, slots=True)
class AppWork:
    """What is to be worked on, and how."""

    target: str                            # MODULE:NAME of the app
    queues: tuple[str, ...]                # none: all of its tasks
    options: dict[str, Any]                # of the worker

    def run(self, seeds: str, *, as_json: bool) -> None:
        """Work until a signal comes, then drain."""
        if seeds:
            os.environ["ZMQUEUE_SEEDS"] = seeds            # for the app that names none, and for its processes
        app = load(self.target, as_json=as_json)
        app.client.members()                               # says at once whether there is a cluster
        say(f"working {', '.join(self.queues or app.queues)} with the tasks of {self.target}; SIGTERM or Ctrl-C drains")
        statistics = app.run(*self.queues, **self.options)
        app.close()
        if as_json:
            print_json(statistics)


def load(target: str, *, as_json: bool) -> zmqueue.App:
    """The app that MODULE:NAME stands for; modules are looked for in the current folder first."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))    # processes
    try:
        found = pkgutil.resolve_name(target)
    except ModuleNotFoundError as error:
        fail(f"{target!r} is not found: {error}; name it as MODULE:NAME, from this folder", USAGE, as_json=as_json)
    except AttributeError as error:
        fail(f"{target!r} is not found: {error}", USAGE, as_json=as_json)
    if not isinstance(found, zmqueue.App):
        fail(f"{target!r} is a {type(found).__name__}, and no zmqueue.App", USAGE, as_json=as_json)
    return found


def reload_again_and_again(grace: float, *, as_json: bool) -> None:
    """Run this very command without --autoreload, and anew whenever a Python file below this folder changes."""
    try:
        import watchfiles
    except ImportError:
        fail("--autoreload needs watchfiles: pip install 'zmqueue[autoreload]'", USAGE, as_json=as_json)
    command = shlex.join([sys.executable, "-m", "zmqueue",
                          *(word for word in sys.argv[1:] if word != "--autoreload")])
    say("watching this folder; the worker starts anew when a Python file changes")
    watchfiles.run_process(Path.cwd(), target=command, target_type="command", watch_filter=watchfiles.PythonFilter(),
                           sigint_timeout=math.ceil(grace) + KILL_S, callback=_say_changes)


def _say_changes(changes: set[tuple[Any, str]]) -> None:
    say(f"changed: {', '.join(sorted(os.path.relpath(path) for _, path in changes))}; the worker starts anew")
