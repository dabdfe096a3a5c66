"""Queues as their users declare them: policies in seconds and fractions, and what they are on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zmqueue.core import policies
from zmqueue.core.policies import Overflow, Policy, Shape

LONG_S = policies.LONG_MS / 1000

Seconds = Annotated[float, Field(gt=0, le=LONG_S, allow_inf_nan=False)]
Rest = Annotated[float, Field(ge=0, le=LONG_S, allow_inf_nan=False)]
Shapes = Literal["constant", "linear", "exponential", "list"]
Overflows = Literal["reject", "block"]
Attempts = Annotated[int, Field(ge=1, le=65_535)]


class Backoff(BaseModel):
    """How long a message rests after its handler failed, before it is handed out again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Shapes = Field(description="how the rest grows with the number of failures")
    delays: tuple[Rest, ...] = Field(min_length=1, max_length=policies.DELAYS_MAX,
                                     description="seconds: the first rest, or all of a list")
    most: Seconds | None = Field(default=None, description="seconds: no rest is longer")
    jitter: float = Field(default=0.0, ge=0.0, le=1.0,
                          description="fraction by which a rest is shortened at most, by chance")

    @classmethod
    def constant(cls, rest: float, *, jitter: float = 0.0) -> Backoff:
        """The same rest, in seconds, after each failure."""
        return cls(shape="constant", delays=(rest,), jitter=jitter)

    @classmethod
    def linear(cls, first: float, *, most: float | None = None, jitter: float = 0.0) -> Backoff:
        """`first` seconds, then twice, three times as long, up to `most`."""
        return cls(shape="linear", delays=(first,), most=most, jitter=jitter)

    @classmethod
    def exponential(cls, first: float, *, most: float | None = None, jitter: float = 0.0) -> Backoff:
        """`first` seconds, then twice as long each time, up to `most`."""
        return cls(shape="exponential", delays=(first,), most=most, jitter=jitter)

    @classmethod
    def listed(cls, delays: Sequence[float], *, jitter: float = 0.0) -> Backoff:
        """These rests, in seconds, one after the other; then the last one again and again."""
        return cls(shape="list", delays=tuple(delays), jitter=jitter)

    @model_validator(mode="after")
    def _one_delay(self) -> Backoff:
        if self.shape != "list" and len(self.delays) != 1:
            raise ValueError(f"a {self.shape} backoff has one delay, this has {len(self.delays)}: a list has several")
        return self

    def core(self) -> policies.Backoff:
        """The same as the core's record."""
        return policies.Backoff(Shape[self.shape.upper()], tuple(map(_ms, self.delays)), _ms(self.most),
                                round(self.jitter * 100))

    @staticmethod
    def of(backoff: policies.Backoff) -> Backoff | None:
        """The core's record in seconds; None where nothing rests."""
        if not backoff.delays:
            return None
        return Backoff.model_construct(
            shape=cast(Shapes, backoff.shape.name.lower()), delays=tuple(delay / 1000 for delay in backoff.delays),
            most=_seconds(backoff.most), jitter=backoff.jitter / 100)


class QueuePolicy(BaseModel):
    """What is agreed for a queue. None: no limit, or what the cluster's settings say. Times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: Attempts | None = Field(
        default=None, description="failures after which a message is a dead letter; default: deliveries_max")
    losses: Attempts | None = Field(
        default=None, description="lost workers and expired leases after which it is one; default: deliveries_max")
    backoff: Backoff | None = Field(default=None, description="rest after a failure; default: none")
    ageing: Seconds | None = Field(
        default=None, description="a message counts one priority higher for each of these that it has waited")
    expires: Seconds | None = Field(default=None, description="a message that was not begun so long never is")
    deadline: Seconds | None = Field(default=None, description="hard limit for one run of a handler")
    result_ttl: Seconds | None = Field(
        default=None, description="how long an ended message is remembered; default: the cluster's")
    result_bytes_max: int | None = Field(default=None, ge=1, le=1 << 26,
                                         description="size of a result; default: body_bytes_max")
    dead_ttl: Seconds | None = Field(
        default=None, description="how long a dead letter is kept; default: as any ended message")
    halt: bool = Field(default=False, description="a dead letter halts its group")
    messages_max: int | None = Field(default=None, ge=1, le=policies.MANY,
                                     description="messages that are delayed, ready or leased")
    age_max: Seconds | None = Field(
        default=None, description="nothing is taken while a ready message has waited for longer")
    overflow: Overflows = Field(default="reject", description="what becomes of a submit to a full queue")

    def core(self, *, paused: bool = False) -> Policy:
        """The same as the core's record."""
        return Policy(
            attempts=self.attempts or 0, losses=self.losses or 0,
            backoff=policies.Backoff() if self.backoff is None else self.backoff.core(),
            ageing_ms=_ms(self.ageing), expires_ms=_ms(self.expires), deadline_ms=_ms(self.deadline),
            result_ttl_ms=_ms(self.result_ttl), result_bytes_max=self.result_bytes_max or 0,
            dead_ttl_ms=_ms(self.dead_ttl), halt=self.halt, paused=paused,
            messages_max=self.messages_max or 0, age_ms_max=_ms(self.age_max), overflow=Overflow[self.overflow.upper()])

    @staticmethod
    def of(policy: Policy) -> QueuePolicy:
        """The core's record in seconds."""
        return QueuePolicy.model_construct(
            attempts=policy.attempts or None, losses=policy.losses or None, backoff=Backoff.of(policy.backoff),
            ageing=_seconds(policy.ageing_ms), expires=_seconds(policy.expires_ms),
            deadline=_seconds(policy.deadline_ms), result_ttl=_seconds(policy.result_ttl_ms),
            result_bytes_max=policy.result_bytes_max or None, dead_ttl=_seconds(policy.dead_ttl_ms), halt=policy.halt,
            messages_max=policy.messages_max or None, age_max=_seconds(policy.age_ms_max),
            overflow=cast(Overflows, policy.overflow.name.lower()))

    def facts(self) -> dict[str, object]:
        """As JSON has it: the unit of a time is in its name."""
        backoff = self.backoff
        return {
            "attempts": self.attempts, "losses": self.losses,
            "backoff": None if backoff is None else {"shape": backoff.shape, "delays_s": list(backoff.delays),
                                                     "most_s": backoff.most, "jitter": backoff.jitter},
            "ageing_s": self.ageing, "expires_s": self.expires, "deadline_s": self.deadline,
            "result_ttl_s": self.result_ttl, "result_bytes_max": self.result_bytes_max,
            "dead_ttl_s": self.dead_ttl, "halt": self.halt, "messages_max": self.messages_max,
            "age_max_s": self.age_max, "overflow": self.overflow}


class PolicyOptions(TypedDict, total=False):
    """The fields of `QueuePolicy`, as `declare` takes them."""

    attempts: int | None
    losses: int | None
    backoff: Backoff | None
    ageing: float | None
    expires: float | None
    deadline: float | None
    result_ttl: float | None
    result_bytes_max: int | None
    dead_ttl: float | None
    halt: bool
    messages_max: int | None
    age_max: float | None
    overflow: Overflows


def _ms(seconds: float | None) -> int:
    return 0 if not seconds else max(1, round(seconds * 1000))


def _seconds(ms: int) -> float | None:
    return ms / 1000 if ms else None
