"""Runs the project from a checkout: `python3 dev.py demo` is the main job, `python3 dev.py test` are the tests.

Needs Python 3.11 or later and nothing else: what is missing is installed into a private virtual environment, .venv in
this folder. Whatever follows the command goes on to it: `dev.py demo --help`, `dev.py test py312 -- -k ring`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent
VENV = CHECKOUT / ".venv"
OLDEST = (3, 11)
MINORS = range(OLDEST[1], 16)
OTHER_ENVIRONMENTS = ("lint", "types", "docs", "dist")
USAGE = "usage: python3 dev.py demo [OPTIONS OF zmqueue demo] | test [TOX ENVIRONMENTS] [-- OPTIONS OF pytest]"


def main(arguments: list[str]) -> int:
    """Do what the first argument names; return the exit status."""
    if sys.version_info < OLDEST:
        sys.exit(f"zmqueue needs Python 3.11 or later; this is {sys.version.split()[0]} ({sys.executable})")
    command, rest = arguments[:1], arguments[1:]      # no `match` here: an older Python must get as far as this line
    if command == ["demo"]:
        return demo(rest)
    if command == ["test"]:
        return test(rest)
    print(USAGE, file=sys.stderr)
    return 2


def demo(options: list[str]) -> int:
    """Install zmqueue as it stands here, and run its demo."""
    install("-e", str(CHECKOUT))
    return subprocess.call([str(VENV / "bin" / "zmqueue"), "demo", *options])


def test(arguments: list[str]) -> int:
    """Run tox: the named environments, or all of them with every interpreter that is there."""
    install("tox>=4.40")
    environment = os.environ | pyenv_versions()
    end = arguments.index("--") if "--" in arguments else len(arguments)
    named, options = arguments[:end], arguments[end:]
    if not named:
        found = interpreters(environment)
        named = [*OTHER_ENVIRONMENTS, *(f"py3{minor}" for minor in found)]
        named += ["lowest"] if OLDEST[1] in found else []
        print(f"environments: {' '.join(named)}", flush=True)
    # Every environment that is named here has its interpreter: one that tox would skip is an error.
    tox = [str(VENV / "bin" / "tox"), "run", "--skip-missing-interpreters", "false"]
    return subprocess.call([*tox, "-e", ",".join(named), *options], cwd=CHECKOUT, env=environment)


def install(*requirements: str) -> None:
    """Make the private environment where it is missing, and install into it what is not in it yet."""
    stamp = VENV / f"installed-{digest(*requirements)}"
    if stamp.exists():
        return
    python = VENV / "bin" / "python"
    if not python.exists():
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            sys.exit("this Python makes no virtual environments (no ensurepip); on Debian: apt install python3-venv")
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", VENV])
    subprocess.check_call([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
    stamp.touch()


def digest(*requirements: str) -> str:
    """What was asked for and what it stood for then: another setup.cfg is installed anew."""
    asked = "\n".join((*requirements, (CHECKOUT / "setup.cfg").read_text(encoding="utf-8")))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def pyenv_versions() -> dict[str, str]:
    """With pyenv: the variable that switches on all its interpreters that we support, the newest first.

    It may be set already, to a single one: pyenv does that itself where `python3` is its shim.
    """
    if not shutil.which("pyenv"):
        return {}
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout
    numbers = [tuple(map(int, line.split("."))) for line in listed.split() if line.replace(".", "").isdigit()]
    supported = sorted((number for number in numbers if number >= OLDEST), reverse=True)
    return {"PYENV_VERSION": ":".join(".".join(map(str, number)) for number in supported)} if supported else {}


def interpreters(environment: dict[str, str]) -> list[int]:
    """The minor versions of Python 3 that run here, this one among them, ascending."""
    return sorted({sys.version_info.minor, *(minor for minor in MINORS if runs(f"python3.{minor}", environment))})


def runs(command: str, environment: dict[str, str]) -> bool:
    """True where the interpreter starts (pyenv's shims exist also for versions that are not switched on)."""
    path = shutil.which(command)
    if path is None:
        return False
    return subprocess.run([path, "-c", ""], env=environment, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
