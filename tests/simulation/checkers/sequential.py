"""What one message is, if calls about it happen one after the other: the specification that histories are held against.

A message is absent, then open, then ended, for ever; only a dead letter may be requeued. While it is open it is leased
under fencing numbers that grow; a settle holds if it names the newest. Leases end by themselves as well, and others are
granted that no program ever heard of, so an open message is explained by less than it has been through. That is
lenient, and never wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.checkers import Violation
from tests.simulation.checkers.history import Act, How, Seen, What
from tests.simulation.checkers.linear import Undecided, unexplained

LINEAR = "calls about a message are linearizable"


class Standing(NamedTuple):
    """How a message stands."""

    seen: Seen = Seen.UNKNOWN              # what a read is told now
    fencing: int = 0                       # the newest that a program heard of
    how: How | None = None                 # how that lease was settled; None: it stands, or ended by itself
    result: Hashable = None                # of what is done


ABSENT = Standing()


@dataclass(frozen=True, slots=True)
class Specification:
    """The rules of one cluster."""

    mortal: bool                           # a message may die of deliveries that nobody settled
    expires: bool = False                  # a message may expire

    def step(self, standing: Standing, call: Act) -> Sequence[Standing]:
        """How the message may stand after the call; nothing: it cannot have been answered so."""
        match call.what:
            case What.SUBMIT:
                return (standing._replace(seen=Seen.OPEN) if standing == ABSENT else standing,)
            case What.READ:
                return self._read(standing, call)
            case What.GRANT:
                fits = standing.seen is Seen.OPEN and call.fencing > standing.fencing
                return (Standing(Seen.OPEN, call.fencing),) if fits else ()
            case What.SETTLE:
                return self._settled(standing, call)
            case What.CANCEL:
                if standing.seen is Seen.OPEN:
                    return (standing._replace(seen=Seen.CANCELLED),)
                return (standing,) if standing.seen is Seen.CANCELLED else ()
            case What.REQUEUE:
                return (standing._replace(seen=Seen.OPEN) if standing.seen is Seen.DEAD else standing,)

    def _read(self, standing: Standing, call: Act) -> Sequence[Standing]:
        assert call.seen is not None
        if standing.seen is call.seen and standing.result == call.result:
            return (standing,)
        ends_by_itself = (call.seen is Seen.DEAD and self.mortal) or (call.seen is Seen.EXPIRED and self.expires)
        return (standing._replace(seen=call.seen),) if standing.seen is Seen.OPEN and ends_by_itself else ()

    def _settled(self, standing: Standing, call: Act) -> Sequence[Standing]:
        assert call.how is not None
        newest = standing.fencing == call.fencing
        if newest and standing.how is call.how:
            return (standing,)             # repeated, with whatever result: it is answered as before
        stands = newest and standing.how is None and standing.seen is Seen.OPEN
        if call.how is How.GIVE_BACK:      # of a lease that does not stand, nothing needs doing
            return (standing._replace(how=call.how) if stands else standing,)
        if not stands:
            return ()
        settled = standing._replace(how=call.how)
        if end := call.how.end:
            return (settled._replace(seen=end, result=call.result),)
        return (settled, settled._replace(seen=Seen.DEAD)) if self.mortal else (settled,)


def check_linear(token: str, history: Sequence[Act], specification: Specification) -> None:
    """Raises Violation where no order of the calls explains what programs were told of that message."""
    try:
        call = unexplained(history, ABSENT, specification.step)
    except Undecided as error:
        raise Violation(LINEAR, f"{token} is not decided: {error}") from None
    if call is None:
        return
    before = sorted((other for other in history if other.begun <= call.ended), key=lambda other: other.begun)
    raise Violation(LINEAR, f"nothing explains what was told of {token} by {call}; the calls until then:\n  "
                            + "\n  ".join(map(str, before)))
