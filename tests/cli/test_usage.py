"""Wrong usage, bad input and absent clusters: a clear line, the right exit status, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import zmqueue
from zmqueue.cli.root import COMMANDS

TOKEN = "AQGiDTbbQR6dFmrPokIUqICscBVmrTKa"
NOBODY = "tcp://127.0.0.1:1"


def test_the_help_names_every_command_and_every_command_has_an_example() -> None:
    text = " ".join(zmqueue("--help").text.split())
    for command, what in COMMANDS.items():
        assert f"{command} {what}" in text
        assert f"\n  zmqueue {command} " in zmqueue(command, "--help").text


@pytest.mark.parametrize(("arguments", "word"), [
    (["nosuch"], "nosuch"),
    (["status"], "TOKEN"),
    (["status", TOKEN], "--seeds"),
    (["status", "abc", "--seeds", NOBODY], "32 characters"),
    (["status", "%" * 32, "--seeds", NOBODY], "token"),
    (["status", TOKEN, "--seeds", "localhost"], "tcp://"),
    (["status", TOKEN, "--seeds", "tcp://localhost:99999"], "port"),
    (["status", TOKEN, "--seeds", NOBODY, "--timeout", "nan"], "nan"),
    (["status", TOKEN, "--seeds", NOBODY, "--timeout", "-1"], "-1"),
    (["submit", "", "x", "--seeds", NOBODY], "name"),
    (["submit", "q" * 1000, "x", "--seeds", NOBODY], "1000"),
    (["submit", "q", "x", "--seeds", NOBODY, "--priority", "256"], "256"),
    (["submit", "q", "x", "--seeds", NOBODY, "--delay", "inf"], "delay"),
    (["submit", "q", "x", "--seeds", NOBODY, "--header", "novalue"], "NAME=VALUE"),
    (["submit", "q", "x", "--seeds", NOBODY, "--id", "x"], "token"),
    (["work", "q", "--seeds", NOBODY], "COMMAND"),
    (["work", "q", "--executor", "process", "--seeds", NOBODY, "--", "cat"], "--executor is for apps"),
    (["work", "no.such.module:app", "--seeds", NOBODY], "MODULE:NAME"),
    (["work", "json:loads", "--seeds", NOBODY], "is a function, and no zmqueue.App"),
    (["work", "q", "--seeds", NOBODY, "--", "no-such-program-anywhere"], "no-such-program-anywhere"),
    (["node"], "--data"),
    (["node", "--data", "d", "--found", "--listen", "here"], "tcp://"),
    (["node", "--data", "d", "--found", "--listen", "tcp://0.0.0.0:0"], "advertise"),
    (["node", "--data", "d", "--found", "--weight", "0"], "weight"),
    (["node", "--data", "d", "--found", "--disk-reserve", "64MB"], "64MB"),
    (["node", "--data", "d", "--found", "--disk-reserve", "1MiB"], "16,777,216"),
    (["node", "--data", "d", "--found", "--map-max", "64MiB"], "134,217,728"),
    (["node", "--data", "d", "--found", "--config", "missing.toml"], "missing.toml"),
    (["adopt", "x", "--from", "abcd", "--seeds", NOBODY], "integer"),
    (["adopt", "3", "--seeds", NOBODY], "--from"),
    (["weight", "abcd", "101", "--seeds", NOBODY], "101"),
    (["weight", "abcd", "--seeds", NOBODY], "N"),
    (["zone", "abcd", "--seeds", NOBODY], "ZONE"),
    (["drain", "--seeds", NOBODY], "MEMBER"),
    (["forget", "abcd"], "--seeds"),
    (["recover"], "--data"),
    (["recover", "--data", "d", "collect", "--data", "d"], "behind the step"),
    (["recover", "collect"], "--data"),
    (["recover", "plan"], "FILE"),
    (["recover", "plan", "missing.json"], "missing.json"),
    (["recover", "apply", "--data", "d", "missing.json"], "missing.json"),
    (["demo", "missing"], "missing"),
    (["demo", "--nodes", "2", "--kill"], "majority"),
    (["demo", "--requests", "0"], "0"),
])
def test_wrong_usage_is_2(arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = zmqueue(*arguments)
    assert (ran.status, ran.out) == (2, b""), ran
    assert word in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("toml", "word"), [
    ("buckets = [", "TOML"), ("buckets = 'many'", "buckets"), ("bukets = 8", "bukets"), ("replicas = 1", "min_in_sync"),
    ("[node]\nreserve = 1", "reserve"),
    ("\N{SNOWMAN}", "TOML")])
def test_a_bad_settings_file_is_2_and_names_the_setting(toml: str, word: str, tmp_path: Path) -> None:
    config = tmp_path / "zmqueue.toml"
    config.write_text(toml, encoding="utf-8")
    ran = zmqueue("node", "--data", str(tmp_path / "d"), "--found", "--config", str(config))
    assert ran.status == 2 and word in ran.err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("arguments", [
    ["status", TOKEN], ["result", TOKEN], ["submit", "q", "x"], ["members"], ["queues"], ["pause", "q"],
    ["adopt", "3", "--from", "abcd"], ["weight", "abcd", "2"], ["zone", "abcd", "cellar"], ["drain", "abcd"],
    ["forget", "abcd"]])
def test_without_a_cluster_it_is_3_with_a_document_all_the_same(arguments: list[str]) -> None:
    more = [] if arguments[0] == "result" else ["--timeout", "0.5"]
    ran = zmqueue(*arguments, *more, "--json", seeds=[NOBODY])
    assert ran.status == 3, ran
    assert "no cluster" in ran.document["error"]


def test_an_empty_directory_needs_a_word(tmp_path: Path) -> None:
    ran = zmqueue("node", "--data", str(tmp_path / "d"))
    assert ran.status == 1
    assert "--found" in ran.err and "--join" in ran.err
