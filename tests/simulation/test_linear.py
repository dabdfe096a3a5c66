"""The search for linearizations, and the specification of a message, on histories that have one and that have none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest

from tests.simulation.checkers import Violation, linear
from tests.simulation.checkers.history import NEVER, Act, How, Seen, What
from tests.simulation.checkers.linear import Undecided, unexplained
from tests.simulation.checkers.sequential import ABSENT, Specification, Standing, check_linear

PLAIN, MORTAL = Specification(mortal=False), Specification(mortal=True)


def submit(begun: float, ended: float = NEVER) -> Act:
    return Act(What.SUBMIT, "p", begun, ended)


def read(begun: float, ended: float, seen: Seen, result: str | None = None) -> Act:
    return Act(What.READ, "r", begun, ended, seen=seen, result=result)


def grant(begun: float, ended: float, fencing: int = 1) -> Act:
    return Act(What.GRANT, "w", begun, ended, fencing)


def settle(begun: float, ended: float = NEVER, fencing: int = 1, how: How = How.ACK, result: str = "") -> Act:
    given = (result or "done") if how is How.ACK else None
    return Act(What.SETTLE, "w", begun, ended, fencing, how, result=given)


def cancel(begun: float, ended: float = NEVER) -> Act:
    return Act(What.CANCEL, "p", begun, ended)


STORED, LEASED = submit(0, 1), grant(2, 3)
DONE = settle(4, 5)

LINEARIZABLE: dict[str, list[Act]] = {
    "nothing at all": [],
    "one after the other": [STORED, read(1.5, 1.6, Seen.OPEN), LEASED, DONE, read(6, 7, Seen.DONE, "done")],
    "unknown before it is submitted": [read(0, 1, Seen.UNKNOWN), submit(2, 3)],
    "unknown while it is being submitted, and known": [submit(0, 5), read(1, 4, Seen.OPEN), read(0, 4, Seen.UNKNOWN)],
    "known before its submitter knows": [submit(0, 9), read(1, 2, Seen.OPEN), grant(3, 4), settle(5, 6)],
    "submitted twice": [STORED, submit(2, 3), read(4, 5, Seen.OPEN)],
    "submitted again after its end": [STORED, LEASED, DONE, submit(6, 7), read(8, 9, Seen.DONE, "done")],
    "a submit without an answer that happened late": [submit(0), read(5, 6, Seen.UNKNOWN), read(7, 8, Seen.OPEN)],
    "a submit without an answer that never happened": [submit(0), read(5, 6, Seen.UNKNOWN)],
    "a settle without an answer that happened late": [
        STORED, LEASED, settle(4), read(5, 6, Seen.OPEN), read(7, 8, Seen.DONE, "done")],
    "a settle without an answer that never happened": [
        STORED, LEASED, settle(4), grant(5, 6, 2), settle(7, 8, 2, result="other"), read(9, 10, Seen.DONE, "other")],
    "a read that overlaps with the end": [STORED, LEASED, settle(4, 8), read(5, 6, Seen.DONE, "done"),
                                          read(5, 7, Seen.OPEN)],
    "a lease that nobody heard of lies between": [STORED, grant(2, 3, 1), grant(4, 5, 3)],
    "settled, and told so twice": [STORED, LEASED, DONE, settle(6, 7)],
    "given back after it was lost": [STORED, LEASED, grant(4, 5, 2), settle(6, 7, 1, How.GIVE_BACK), settle(8, 9, 2)],
    "given back, and leased again": [STORED, LEASED, settle(4, 5, 1, How.GIVE_BACK), grant(6, 7, 2)],
    "cancelled": [STORED, cancel(2, 3), read(4, 5, Seen.CANCELLED), cancel(6, 7)],
    "cancelled by a call without an answer": [STORED, cancel(2), read(3, 4, Seen.OPEN), read(5, 6, Seen.CANCELLED)],
    "rejected": [STORED, LEASED, settle(4, 5, how=How.REJECT), read(6, 7, Seen.DEAD)],
}

NOT_LINEARIZABLE: dict[str, list[Act]] = {
    "known and never submitted": [read(0, 1, Seen.OPEN)],
    "unknown after its confirmation": [STORED, read(2, 3, Seen.UNKNOWN)],
    "unknown after somebody knew it": [submit(0), read(1, 2, Seen.OPEN), read(3, 4, Seen.UNKNOWN)],
    "known before it is submitted": [read(0, 1, Seen.OPEN), submit(2, 3)],
    "open after its end": [STORED, LEASED, DONE, read(6, 7, Seen.OPEN)],
    "open after somebody knew its end": [
        STORED, LEASED, settle(4), read(5, 6, Seen.DONE, "done"), read(7, 8, Seen.OPEN)],
    "another result than the one that was given": [STORED, LEASED, DONE, read(6, 7, Seen.DONE, "other")],
    "two results": [STORED, LEASED, settle(4, result="a"), settle(4, result="b"),
                    read(5, 6, Seen.DONE, "a"), read(7, 8, Seen.DONE, "b")],
    "done, and nobody did it": [STORED, LEASED, read(4, 5, Seen.DONE, "done")],
    "dead, and nobody rejected it": [STORED, LEASED, read(4, 5, Seen.DEAD)],
    "an end that changes": [STORED, LEASED, DONE, read(6, 7, Seen.CANCELLED)],
    "handed out after its end": [STORED, LEASED, DONE, grant(6, 7, 2)],
    "handed out, and never submitted": [grant(0, 1)],
    "one lease for two": [STORED, grant(2, 5), grant(3, 6)],
    "leases that go back": [STORED, grant(2, 3, 2), grant(4, 5, 1)],
    "settled under an older lease": [STORED, LEASED, grant(4, 5, 2), settle(6, 7, 1)],
    "settled after it was given back": [STORED, LEASED, settle(4, 5, how=How.GIVE_BACK), settle(6, 7)],
    "settled twice, otherwise": [STORED, LEASED, settle(4, 5, how=How.NACK), settle(6, 7)],
    "done after it was cancelled": [STORED, LEASED, cancel(4, 5), settle(6, 7)],
    "cancelled after its end": [STORED, LEASED, DONE, cancel(6, 7)],
}


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_a_history_that_has_an_order_is_linearizable(name: str) -> None:
    for history in orders(LINEARIZABLE[name]):
        check_linear(name, history, PLAIN)


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_a_history_that_has_no_order_is_not_linearizable(name: str) -> None:
    for history in orders(NOT_LINEARIZABLE[name]):
        with pytest.raises(Violation, match="linearizable"):
            check_linear(name, history, PLAIN)


def orders(history: list[Act]) -> Iterable[list[Act]]:
    """In whatever order it was written down."""
    return history, history[::-1]


def test_a_message_may_die_of_deliveries_where_these_are_limited() -> None:
    for history in ([STORED, LEASED, read(4, 5, Seen.DEAD)],
                    [STORED, LEASED, settle(4, 5, how=How.NACK), read(6, 7, Seen.DEAD)]):
        check_linear("token", history, MORTAL)
        check_linear("token", [*history, read(8, 9, Seen.DEAD)], MORTAL)
        with pytest.raises(Violation):
            check_linear("token", [*history, read(8, 9, Seen.OPEN)], MORTAL)
        with pytest.raises(Violation):
            check_linear("token", history, PLAIN)


def test_what_is_found_names_the_call_and_those_before_it() -> None:
    with pytest.raises(Violation) as found:
        check_linear("token", [*NOT_LINEARIZABLE["open after its end"], read(8, 9, Seen.DONE, "done")], PLAIN)
    first, *calls = str(found.value).splitlines()
    assert "[6.000000 to 7.000000] r read open" in first
    assert [call.split("] ")[1] for call in calls] == ["p submit", "w grant under 1", "w settle ack under 1 'done'",
                                                       "r read open"]


def by_trying(history: list[Act], specification: Specification) -> bool:
    """The definition itself: some order of all certain calls and some of the others, which keeps the order of those
    that do not overlap, has each call answered as the specification says. All orders are tried."""
    certain = [call for call in history if call.certain]
    uncertain = [call for call in history if not call.certain]
    return any(explains(order, ABSENT, specification)
               for many in range(len(uncertain) + 1) for some in itertools.combinations(uncertain, many)
               for order in itertools.permutations([*certain, *some])
               if all(earlier.begun <= later.ended for earlier, later in itertools.combinations(order, 2)))


def explains(order: tuple[Act, ...], standing: Standing, specification: Specification) -> bool:
    return not order or any(explains(order[1:], after, specification)
                            for after in specification.step(standing, order[0]))


def drawn(dice: random.Random) -> list[Act]:
    """Some calls that overlap or do not, with answers by chance."""
    def times(may_be_open: bool) -> tuple[float, float]:
        begun = dice.randrange(8)
        return begun, NEVER if may_be_open and dice.random() < 0.3 else begun + dice.randrange(1, 6)
    history = [submit(*times(may_be_open=True))]
    for _ in range(dice.randrange(1, 5)):
        match dice.randrange(4):
            case 0:
                seen = dice.choice((Seen.UNKNOWN, Seen.OPEN, Seen.OPEN, Seen.DONE, Seen.DEAD))
                history.append(read(*times(may_be_open=False), seen, "done" if seen is Seen.DONE else None))
            case 1:
                history.append(grant(*times(may_be_open=False), dice.choice((1, 1, 2))))
            case 2:
                history.append(settle(*times(may_be_open=True), dice.choice((1, 2)), dice.choice(list(How))))
            case _:
                history.append(cancel(*times(may_be_open=True)))
    return history


def test_the_search_finds_what_trying_all_orders_finds() -> None:
    dice, found = random.Random(7), [0, 0]
    for _ in range(1_000):
        history, specification = drawn(dice), dice.choice((PLAIN, MORTAL))
        expected = by_trying(history, specification)
        assert (unexplained(history, ABSENT, specification.step) is None) == expected, list(map(str, history))
        found[expected] += 1
    assert min(found) > 100, f"chance gave both kinds: {found}"


def test_a_history_with_too_many_explanations_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CONFIGURATIONS_MAX", 50)
    history = [STORED, *(grant(2, 30, number) for number in range(1, 9)), read(40, 41, Seen.OPEN)]
    with pytest.raises(Undecided):
        unexplained(history, ABSENT, PLAIN.step)
    with pytest.raises(Violation, match="not decided"):
        check_linear("token", history, PLAIN)
