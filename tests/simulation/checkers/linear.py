"""Is a history linearizable: could each call have happened at one moment between its begin and its end?

The search of Wing and Gong (1993), in the form of Lowe (2017): go through begins and ends in the order of time, and
hold every *configuration* that explains what was seen so far: the state of the object, and which of the calls under way
have happened already. A call must have happened when it ends, and only then (just in time) is it tried what may have
happened before it. Where no configuration is left, nothing explains the answer of the call that ended.

A call without an end is under way for ever: it may happen whenever that explains something, and need not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

CONFIGURATIONS_MAX = 50_000
"""Configurations of one history, at any time. Each call without an end may double their number; those about one message
are few. A history beyond this is not decided, and that is an error, not a pass."""


class Timed(Protocol):
    """What the search needs to know of a call."""

    @property
    def begun(self) -> float: ...          # when it was called

    @property
    def ended(self) -> float: ...          # when it was answered; infinite: it was not

    @property
    def certain(self) -> bool: ...         # it was answered

    @property
    def pure(self) -> bool: ...            # it changes nothing, whatever it is told


State = TypeVar("State", bound=Hashable)
Call = TypeVar("Call", bound=Timed)
Step = Callable[[State, Call], Iterable[State]]
"""The states in which a call may leave the object, if it happens in that state and is answered as it was; none: it
cannot happen there."""


class Undecided(Exception):
    """The history has too many explanations to look at all."""


def unexplained(history: Sequence[Call], first: State, step: Step[State, Call]) -> Call | None:
    """The first call, by the ends, whose answer nothing explains; None: the history is linearizable.

    `first`: the state before all. What begins at the moment at which another call ends overlaps with it.
    Raises Undecided.
    """
    moments = [(call.begun, False, number) for number, call in enumerate(history)]
    moments += [(call.ended, True, number) for number, call in enumerate(history) if call.certain]
    under_way: dict[int, Call] = {}
    configurations: set[tuple[State, frozenset[int]]] = {(first, frozenset())}
    for _, is_end, number in sorted(moments):
        if not is_end:
            under_way[number] = history[number]
            continue
        configurations = _ended(number, under_way, configurations, step)
        del under_way[number]
        if not configurations:
            return history[number]
    return None


def _ended(number: int, under_way: dict[int, Call], configurations: set[tuple[State, frozenset[int]]],
           step: Step[State, Call]) -> set[tuple[State, frozenset[int]]]:
    """The configurations in which that call has happened; it is no longer listed in them, since it is over."""
    found: set[tuple[State, frozenset[int]]] = set()
    seen = set(configurations)
    left = list(configurations)
    while left:
        state, happened = left.pop()
        # A read that is true in this state is let happen in it: it changes nothing, so no explanation is lost.
        happened |= {other for other, call in under_way.items()
                     if call.pure and other not in happened and tuple(step(state, call)) == (state,)}
        if number in happened:
            found.add((state, happened - {number}))
            continue
        endless: list[Call] = []
        for other, call in under_way.items():
            if other in happened or call in endless:
                continue
            if not call.certain:           # of several that are the same in all, one stands for the others
                endless.append(call)
            for after in step(state, call):
                if other == number:
                    found.add((after, happened))
                elif after != state or call.certain:    # without an end and without an effect: as if it did not happen
                    configuration = after, happened | {other}
                    if configuration not in seen:
                        seen.add(configuration)
                        left.append(configuration)
            if len(seen) > CONFIGURATIONS_MAX:
                raise Undecided(f"{len(seen)} configurations of {len(under_way)} calls that are under way")
    return found
