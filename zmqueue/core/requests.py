"""What clients ask of nodes: packets 20 to 39 and 70 to 89 (`packets` says how they travel).

`request` is the client's number for the request; the answer (`answers`) carries it back.
"""

from __future__ import annotations

import msgspec

from zmqueue.core.changes import Change
from zmqueue.core.operations import Chosen, Held, Options, Settle, Submission


class GetState(msgspec.Struct, array_like=True, frozen=True, tag=20, gc=False):
    """Answered with StateReply."""

    request: int
    epoch: int                             # the newest that the client knows; 0: none


class Submit(msgspec.Struct, array_like=True, frozen=True, tag=21, gc=False):
    """Accept these messages, all of one bucket. Answered with Confirmed."""

    request: int
    bucket: int
    queue: str
    messages: tuple[Submission, ...]
    options: Chosen = ()


class Ask(msgspec.Struct, array_like=True, frozen=True, tag=22, gc=False):
    """How is this message? Answered at once if settled, else when it settles or after `wait` ms. -> Answer."""

    request: int
    bucket: int
    id: bytes
    wait: int
    result: bool                           # send the result along


class Lease(msgspec.Struct, array_like=True, frozen=True, tag=23, gc=False):
    """Hand out at most `max` messages of this queue, now. Answered with Granted (perhaps empty). Repeatable (Q5)."""

    request: int
    queue: str
    max: int
    session: bytes
    number: int                            # the session's count of lease requests, growing
    lease: int                             # ms; 0: the cluster's default
    name: str = ""                         # what the session calls itself


class Settling(msgspec.Struct, array_like=True, frozen=True, tag=24, gc=False):
    """End these leases, all of one bucket. Answered with Confirmed. Repeatable."""

    request: int
    bucket: int
    settles: tuple[Settle, ...]


class Extend(msgspec.Struct, array_like=True, frozen=True, tag=25, gc=False):
    """Let these leases last `lease` ms from now. Answered with Confirmed."""

    request: int
    bucket: int
    leases: tuple[Held, ...]
    lease: int


class GiveBack(msgspec.Struct, array_like=True, frozen=True, tag=26, gc=False):
    """These messages were not begun: let others have them. Answered with Confirmed."""

    request: int
    bucket: int
    leases: tuple[Held, ...]


class Keepalive(msgspec.Struct, array_like=True, frozen=True, tag=27, gc=False):
    """The session lives and holds these leases of yours. A lease granted under a number up to `upto` and not
    listed is given back (Q5). `renew` ms: let the leases flagged be renewed when half of that is over.
    Answered with Alive."""

    request: int
    session: bytes
    upto: int
    holds: tuple[tuple[bytes, int, int], ...]    # (id, fencing, ms to renew by; 0: do not renew)
    name: str = ""                         # what the session calls itself


class Watch(msgspec.Struct, array_like=True, frozen=True, tag=28, gc=False):
    """Tell me once (Hint) when one of these queues has something to hand out. Replaces what was watched before."""

    session: bytes
    queues: tuple[str, ...]


class EndSession(msgspec.Struct, array_like=True, frozen=True, tag=29, gc=False):
    """The session is over: its leases return at once. Answered with Confirmed."""

    request: int
    session: bytes


class GetQueues(msgspec.Struct, array_like=True, frozen=True, tag=30, gc=False):
    """What stands in the buckets that you are primary of? Answered with QueuesReply."""

    request: int


class GetMembers(msgspec.Struct, array_like=True, frozen=True, tag=31, gc=False):
    """How are you? Answered with MembersReply."""

    request: int


class GetCopy(msgspec.Struct, array_like=True, frozen=True, tag=32, gc=False):
    """What is your copy of this bucket? Answered with CopyReply, in any role."""

    request: int
    bucket: int


class Amend(msgspec.Struct, array_like=True, frozen=True, tag=33):
    """Have this change agreed: an operator's word. Answered with Confirmed when it is agreed. Repeatable."""

    request: int
    change: Change


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag=34, gc=False):
    """These messages, all of one bucket, are not wanted any more. Answered with Confirmed, where those that have ended
    already are refused (ENDED). Repeatable."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]


class Requeue(msgspec.Struct, array_like=True, frozen=True, tag=35, gc=False):
    """Give these dead letters, all of one bucket, another try. Answered with Confirmed. Repeatable: `requeued` says
    how often each was requeued when it was found (none at all, or -1: whatever); one that was again since is done."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]
    requeued: tuple[int, ...] = ()


class Purge(msgspec.Struct, array_like=True, frozen=True, tag=36, gc=False):
    """Throw these dead letters away. Answered with Confirmed. Repeatable. `requeued`: as of Requeue; one that was
    requeued since is refused (ENDED)."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]
    requeued: tuple[int, ...] = ()


class Erase(msgspec.Struct, array_like=True, frozen=True, tag=37, gc=False):
    """Keep the results of these messages no longer. Answered with Confirmed. Repeatable."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]


class Progress(msgspec.Struct, array_like=True, frozen=True, tag=38, gc=False):
    """The handler of a lease tells how far it is: (kind, data) of each event. `index`: of the first of them, counted
    from 1 under this fencing number: a repeat is known by it. Answered with Confirmed."""

    request: int
    bucket: int
    id: bytes
    fencing: int
    index: int
    events: tuple[tuple[int, bytes], ...]


class Follow(msgspec.Struct, array_like=True, frozen=True, tag=39, gc=False):
    """The events of a message after that index. Answered with Events: at once where there are any or it has ended,
    else when there are, or after `wait` ms."""

    request: int
    bucket: int
    id: bytes
    after: int
    wait: int


class Find(msgspec.Struct, array_like=True, frozen=True, tag=70, gc=False):
    """Which messages of a bucket are like this? Answered with Found, a page at a time."""

    request: int
    bucket: int
    queue: str                             # "": all
    states: tuple[int, ...]                # as shown to users; none: all
    since: int                             # wall ms: drawn then or later
    before: int                            # wall ms: drawn earlier; 0: whenever
    headers: tuple[tuple[str, str], ...]   # all of these
    after: bytes                           # where to go on: of the last page's `next`; b"": at the front
    limit: int
    payload: bool                          # send the payloads along
    ids: tuple[bytes, ...] = ()            # of these only; none: of all


class Publish(msgspec.Struct, array_like=True, frozen=True, tag=80, gc=False):
    """Put a copy into each queue that is bound to the topic. Answered with Confirmed: `known` has the copies' ids."""

    request: int
    bucket: int
    topic: str
    message: Submission                    # its id is that of no copy: theirs follow from it
    options: Options | None = None


Request = (GetState | Submit | Ask | Lease | Settling | Extend | GiveBack | Keepalive | Watch | EndSession
           | GetQueues | GetMembers | GetCopy | Amend | Cancel | Requeue | Purge | Erase | Progress | Follow | Find
           | Publish)
