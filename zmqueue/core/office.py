"""What the desks of one node share: the way out to clients, the newest settings, the wall clock, and how much waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zmqueue.core.answers import Code, NotPrimary, Refused, Reply
from zmqueue.core.effects import Effects
from zmqueue.core.limits import Limits
from zmqueue.core.operations import Rule, Rules
from zmqueue.core.policies import DEFAULT, Policy
from zmqueue.core.quotas import Quotas
from zmqueue.core.rates import Rates
from zmqueue.core.room import PLENTY, Room, written_bytes
from zmqueue.core.schedules import NO_ALMANAC, Almanac
from zmqueue.core.state import Agreed, Schedule


class Refusal(Exception):
    """A whole request is refused, definitely: nothing of it was written. Caught by the front."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Office:
    """Shared by the front and its desks; the front keeps `wall`, `settings`, `policies`, `schedules` and `epoch` up to
    date."""

    __slots__ = ("almanac", "asks", "claimed_bytes", "effects", "epoch", "granting_bytes", "limits", "pending",
                 "pending_bytes", "policies", "quotas", "rates", "room", "schedules", "searches", "settings",
                 "wall")

    def __init__(self, effects: Effects, limits: Limits, settings: Agreed) -> None:
        self.effects = effects
        self.limits = limits
        self.settings = settings
        self.policies: dict[str, Policy] = {}      # of the queues that are declared
        self.schedules: Mapping[int, Sequence[Schedule]] = {}      # by bucket
        self.almanac: Almanac = NO_ALMANAC
        self.rates = Rates()       # of what this node applies as primary
        self.quotas: Quotas        # set by the front
        self.epoch = 0
        self.wall = 0              # ms, of the event that is being handled or the one before
        self.pending = 0           # answers in all `Waiting`s
        self.pending_bytes = 0     # bodies and results of the requests among them
        self.granting_bytes = 0    # bodies in grants that wait for their commit
        self.asks = 0              # parked long polls
        self.searches = 0          # that wait for their barrier
        self.room: Room = PLENTY   # of the disk, as measured last
        self.claimed_bytes = 0     # what the submits since then may write at most

    def reply(self, client: bytes, packet: Reply) -> None:
        """Answer a client. What is answered is committed, so it is on this disk already."""
        self.effects.send(client, packet)

    def refuse(self, client: bytes, request: int, code: Code, text: str) -> None:
        """Answer that nothing was done, and why."""
        self.reply(client, Refused(request, code, text))

    def not_primary(self, client: bytes, request: int, *, unknown: bool) -> None:
        """Answer that another node is to be asked. `unknown`: what was asked may yet happen."""
        self.reply(client, NotPrimary(request, self.epoch, unknown))

    def policy(self, queue: str) -> Policy:
        """What is agreed for the queue, as far as this node has installed it."""
        return self.policies.get(queue, DEFAULT)

    def keep_ms(self) -> int:
        """How long a message that ends now is remembered: for its result, and twice the window for its id (Q3)."""
        return max(self.settings.result_ttl_ms, 2 * self.settings.dedup_window_ms)

    def rule(self, queue: str) -> Rule:
        """What holds now for the messages of a queue."""
        policy, settings = self.policy(queue), self.settings
        keep, window = self.keep_ms(), 2 * settings.dedup_window_ms
        if policy.result_ttl_ms:
            keep = max(policy.result_ttl_ms, window)
        limit = settings.deliveries_max
        return Rule(policy.attempts or limit, policy.losses or limit, keep,
                    max(policy.dead_ttl_ms, window) if policy.dead_ttl_ms else 0,
                    policy.result_ttl_ms if 0 < policy.result_ttl_ms < keep else 0, policy.halt)

    def rules(self, queues: Iterable[str]) -> Rules:
        """The same for all messages of an operation; none at all in a cluster with members of an earlier version."""
        if self.settings.generation < 3:
            return ()
        if not self.policies:
            return (("", self.rule("")),)
        return (("", self.rule("")), *((queue, self.rule(queue)) for queue in sorted(set(queues))
                                       if queue in self.policies))

    def measured(self, room: Room) -> None:
        """The disk was measured."""
        self.room = room
        self.claimed_bytes = 0

    def disk_full(self, size: int, messages: int) -> str:
        """Why the disk cannot take a submit of so many payload bytes; "": it can."""
        if self.room.short:
            return self.room.text
        needed = written_bytes(size, messages)
        if self.claimed_bytes + needed > self.room.spare_bytes:
            return (f"{self.room.text} (this request may take {needed:,} bytes; {self.room.spare_bytes:,} are to "
                    f"spare, of which other requests may take {self.claimed_bytes:,})")
        return ""

    def will_write(self, size: int, messages: int) -> None:
        """A submit was taken."""
        self.claimed_bytes += written_bytes(size, messages)

    def check_room(self, size: int = 0) -> None:
        """Refuse a request that would have to wait where too much waits already."""
        limits = self.limits
        if self.pending >= limits.requests_pending_max:
            raise Refusal(Code.BUSY, f"{self.pending:,} requests wait for their commit on this node; the limit is "
                                     f"{limits.requests_pending_max:,} (limits.requests_pending_max): try again later")
        if self.pending_bytes + size > limits.pending_bytes_max:
            raise Refusal(Code.BUSY, f"{self.pending_bytes:,} bytes wait for their commit on this node; with the "
                                     f"{size:,} of this request that is over the limit of "
                                     f"{limits.pending_bytes_max:,} (limits.pending_bytes_max): try again later")
