"""Every program in examples/ runs by itself, warns of nothing, and prints what it teaches."""

from __future__ import annotations

import importlib.util
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
    "typed_tasks": ["a.64.png 64", "[100, 200]", "refused before it was submitted: ValidationError",
                    "FileNotFoundError - there is no b.png - 2 deliveries", "progress b.png is done", "result 2",
                    "page of example.org", "['page of a', 'page of b', 'page of c']"],
    "dask_executor": ["[4, 168, 669, 2262]", "counted elsewhere: True", "dead - there are no primes below -1"],
    "sqlalchemy_transaction": ["rolled back: the card was refused", "stored once: True",
                               "order 1 is confirmed: a bicycle", "left: 0"],
    "fastapi_lifespan": ["202", "{'state': 'done', 'report': 'the report of 2025'}", "404"],
    "encrypted_payloads": ["readable: False - smaller: True", "Ann is well", "this body is plain"],
    "from_celery": ["[11, 22, 33]", "done in delivery 3", "second got 42"],
    "from_rq": ["ValueError - there is no text - dead", "a process each: True"],
    "worker_pool": ["page 19", "[4, 168, 2262]", "no primes below -1"],
}

NEEDS = {"dask_executor": "distributed", "sqlalchemy_transaction": "sqlalchemy", "fastapi_lifespan": "fastapi",
         "encrypted_payloads": "cryptography"}
"""What a program imports beside zmqueue: `tox -e recipes` has all of it."""


def test_each_pattern_has_a_program_and_each_program_is_run() -> None:
    patterns = {path.stem for path in Path(zmqueue.patterns.__path__[0]).glob("*.py")} - {"__init__"}
    assert patterns <= {path.stem for path in EXAMPLES.glob("*.py")} == set(WORDS)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_program_runs(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "ZMQUEUE_SEEDS"}
    done = subprocess.run([sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")], cwd=tmp_path, check=False,
                          env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in WORDS[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []
