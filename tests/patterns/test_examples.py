"""Every program in examples/ runs by itself, warns of nothing, and prints what it teaches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zmqueue.patterns

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = {
    "asyncio_worker": ["200 pages, the last is 'page 199', side by side", "499500", "nothing was lost",
                       "page last was finished; 202 in all"],
    "short_polling": ["loading; ask again in 0.20 s", "ready: 6", "failed: there is nothing to count", "unknown"],
    "long_polling": ["ended=False", "ready at"],
    "streaming": ["1 a boat: step 1 of 5", "back again, after event 2", "6 a boat is built (the end)"],
    "worker_pool": ["page 19", "[4, 168, 2262]", "no primes below -1"],
}


def test_each_pattern_has_a_program_and_each_program_is_run() -> None:
    patterns = {path.stem for path in Path(zmqueue.patterns.__path__[0]).glob("*.py")} - {"__init__"}
    assert patterns <= {path.stem for path in EXAMPLES.glob("*.py")} == set(WORDS)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_program_runs(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ZMQUEUE_SEEDS"}
    done = subprocess.run([sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")], cwd=tmp_path, check=False,
                          env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in WORDS[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []
