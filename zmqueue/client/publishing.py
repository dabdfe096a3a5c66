"""Publishing: one message under a topic, of which each bound queue gets a copy; and binding queues to topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from zmqueue.client.calls import Call, Draft, Item
from zmqueue.client.declaring import Decide
from zmqueue.client.lanes import Lane
from zmqueue.core import topics
from zmqueue.core.answers import Confirmed, Reply
from zmqueue.core.ids import token_of
from zmqueue.core.operations import Options, Submission
from zmqueue.core.policies import DEFAULT, Policy
from zmqueue.core.requests import Publish, Request
from zmqueue.errors import ClusterUnreachable, Refused, SubmitTimeout, ZmqueueError


class PublishItem(Item):
    """What is published, under its id."""

    __slots__ = ("call", "options", "submission")

    def __init__(self, call: PublishCall, submission: Submission, options: Options | None) -> None:
        super().__init__()
        self.call = call
        self.submission = submission
        self.options = options

    def accept(self, reply: Reply) -> None:
        assert isinstance(reply, Confirmed)
        self.done = True
        self.call.finish([message_id for _, message_id in reply.known])

    def refuse(self, error: Refused, now: float) -> bool:
        if self.open:              # an earlier transmission may have been stored (Q2): so try again
            return False
        self.done = True
        self.call.fail(error)
        return True


class PublishCall(Call[list[bytes]]):
    """Publish one message. Ends with the ids of its copies."""

    __slots__ = ("item", "topic")

    def __init__(self, topic: str, submission: Submission, options: Options | None, deadline: float,
                 notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.topic = topic
        self.item = PublishItem(self, submission, options)

    def expire(self, now: float) -> None:
        self.item.done = True
        if self.item.open:
            token = token_of(self.item.submission.id)
            self.fail(SubmitTimeout("no node confirmed in time that it is published; it may be: publish again with "
                                    f"id={token!r} and each queue gets one copy", token))
        else:
            self.fail(self.item.refusal or ClusterUnreachable(
                "nothing was published: no node could be reached, or no bucket has a primary"))

    def abort(self, error: ZmqueueError) -> None:
        if self.item.open:
            self.expire(self.deadline)
        else:
            self.item.done = True
            self.fail(error)


class PublishLane(Lane):
    """What is published in one bucket: each in a packet of its own, for each is an entry of its own."""

    on_its_way_max = 16
    batch_max = 1

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        item, = items
        assert isinstance(item, PublishItem)
        return Publish(request, self.bucket, item.call.topic, item.submission, item.options)


def topic_name(topic: str) -> str:
    """A topic to publish under."""
    return _checked("topic", topic, topics.topic_problem)


def patterns_of(given: Iterable[str]) -> tuple[str, ...]:
    """Patterns to be bound or unbound: at least one."""
    found = tuple(_checked("pattern", pattern, topics.pattern_problem) for pattern in given)
    if not found:
        raise ValueError("a binding needs a pattern: bind('mail', 'orders.*')")
    return found


def _checked(what: str, text: str, problem: Callable[[str], str]) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a {what} is a text, got {type(text).__name__}")
    if wrong := problem(text):
        raise ValueError(wrong)
    return text


def publishable(draft: Draft) -> Draft:
    """Refuse what would tell copies where to lie."""
    if draft.options.group or draft.options.unique:
        raise ValueError("what is published has no group and no unique key: its copies lie together, wherever that is")
    return draft


def binding(patterns: tuple[str, ...]) -> Decide:
    """The policy with these patterns too."""
    def decide(found: Policy) -> Policy:
        return replace(found, topics=tuple(dict.fromkeys((*found.topics, *patterns))))
    return decide


def unbinding(patterns: tuple[str, ...]) -> Decide:
    """The policy without these patterns; none where nothing else is declared."""
    def decide(found: Policy) -> Policy | None:
        left = replace(found, topics=tuple(pattern for pattern in found.topics if pattern not in patterns))
        return None if left == DEFAULT else left
    return decide
