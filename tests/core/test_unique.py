"""`unique` keys: a message is refused while another one of its queue has its key, and its submitter is told which."""

from __future__ import annotations

import pytest

from tests.core.counter import Counter
from zmqueue.core.answers import Confirmed, NotPrimary
from zmqueue.core.operations import How, Options, Scope, State
from zmqueue.core.replication import Role

UNTIL_DONE = Options(unique="key")
WHILE_WAITING = Options(unique="key", scope=Scope.WAITING)
FOR_A_WHILE = Options(unique="key", scope=Scope.WINDOW, window=10_000)


@pytest.fixture
def node() -> Counter:
    return Counter()


def holder(node: Counter, number: int, options: Options, queue: str = "jobs") -> int | None:
    """Whose id the submit of that message is answered with; None: it was taken."""
    reply = node.submit(number, options=options, queue=queue)
    assert isinstance(reply, Confirmed) and not reply.refused
    if not reply.known:
        return None
    ((index, message_id),) = reply.known
    assert index == 0 and node.replica.machine.find(node.id_of(number)) is None
    return int.from_bytes(message_id[9:], "big")


@pytest.mark.parametrize("options", [UNTIL_DONE, WHILE_WAITING, FOR_A_WHILE], ids=lambda each: each.scope.name)
def test_a_second_one_is_answered_with_the_first(node: Counter, options: Options) -> None:
    node.put(1, options=options)
    assert holder(node, 2, options) == 1


def test_queues_and_groups_have_keys_of_their_own(node: Counter) -> None:
    node.put(1, options=UNTIL_DONE)
    assert holder(node, 2, UNTIL_DONE, queue="other") is None
    assert holder(node, 3, Options(unique="key", group="g")) is None
    assert holder(node, 4, Options(unique="key", group="h")) is None
    assert holder(node, 5, Options(unique="key", group="g")) == 3


@pytest.mark.parametrize("how", [How.ACK, How.REJECT])
def test_until_done_is_through_failures_and_until_the_end(node: Counter, how: How) -> None:
    node.put(1, options=UNTIL_DONE)
    node.lease()
    node.nack(1)
    assert holder(node, 2, UNTIL_DONE) == 1
    node.lease()
    assert holder(node, 3, UNTIL_DONE) == 1
    node.settle(1, how)
    assert holder(node, 4, UNTIL_DONE) is None
    assert holder(node, 5, UNTIL_DONE) == 4


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_whatever_end_frees_the_key(node: Counter, end: str) -> None:
    node.put(1, options=Options(unique="key", expires=node.wall + 1_000))
    if end == "cancelled":
        node.cancel(1)
    else:
        node.pass_time(1.1)
    assert holder(node, 2, UNTIL_DONE) is None


def test_while_waiting_is_until_the_first_delivery(node: Counter) -> None:
    node.put(1, options=WHILE_WAITING)
    node.lease()
    assert holder(node, 2, WHILE_WAITING) is None
    node.nack(1)
    assert holder(node, 3, WHILE_WAITING) == 2, "the first one waits again, and has no key any more"


def test_a_window_goes_on_whatever_becomes_of_the_message(node: Counter) -> None:
    node.put(1, options=FOR_A_WHILE)
    node.lease()
    node.ack(1)
    node.pass_time(9.8, step=0.5)
    assert holder(node, 2, FOR_A_WHILE) == 1
    node.pass_time(0.3)
    assert holder(node, 3, FOR_A_WHILE) is None
    assert holder(node, 4, FOR_A_WHILE) == 3
    assert node.special(1).unique == b""


def test_a_window_is_over_though_the_message_waits_still(node: Counter) -> None:
    node.put(1, options=FOR_A_WHILE)
    node.pass_time(10.1, step=0.5)
    assert holder(node, 2, FOR_A_WHILE) is None
    assert node.lease() == [1, 2]


def test_of_one_batch_the_first_is_taken(node: Counter) -> None:
    reply = node.submit(1, 2, 3, options=UNTIL_DONE)
    assert isinstance(reply, Confirmed)
    assert reply.known == ((1, node.id_of(1)), (2, node.id_of(1)))
    assert node.lease() == [1]


def test_a_repeat_of_the_first_is_the_first(node: Counter) -> None:
    """Its own key does not keep it out."""
    node.put(1, options=UNTIL_DONE)
    node.put(1, options=UNTIL_DONE)
    node.lease()
    node.ack(1)
    node.put(1, options=UNTIL_DONE)
    assert node.state_of(1) is State.DONE


def test_of_two_submits_in_flight_the_second_waits_for_the_first(node: Counter) -> None:
    node.try_to_submit(1, options=UNTIL_DONE)
    node.try_to_submit(2, options=UNTIL_DONE, client=b"other")
    assert node.replica.end == 1
    node.settle_down()
    (reply,) = node.replies(b"other")
    assert isinstance(reply, Confirmed) and reply.known == ((0, node.id_of(1)),)


def test_the_second_is_taken_where_the_first_has_ended_before_it_is_judged(node: Counter) -> None:
    node.put(1, options=UNTIL_DONE)
    node.lease()
    node.ack(1)
    node.try_to_submit(2, options=UNTIL_DONE)
    node.try_to_submit(3, options=UNTIL_DONE, client=b"other")
    node.settle_down()
    (reply,) = node.replies(b"other")
    assert isinstance(reply, Confirmed) and reply.known == ((0, node.id_of(2)),)


def test_a_takeover_between_two_submits_takes_one_of_them(node: Counter) -> None:
    """The first lies in the tail that the new primary inherits: its key is locked there too."""
    node.try_to_submit(1, options=UNTIL_DONE)
    node.take_over()
    node.replies()
    node.try_to_submit(2, options=UNTIL_DONE, client=b"other")
    assert node.replica.end == 1, "nothing is decided before the first is committed"
    node.settle_down()
    (reply,) = node.replies(b"other")
    assert isinstance(reply, Confirmed) and reply.known == ((0, node.id_of(1)),)
    assert node.lease() == [1]


def test_who_waits_for_a_key_when_the_term_ends_has_to_ask_again(node: Counter) -> None:
    node.try_to_submit(1, options=UNTIL_DONE)
    packet = node.try_to_submit(2, options=UNTIL_DONE, client=b"other")
    node.replica.enter(Role.BACKUP, node.now)
    assert node.replies(b"other") == [NotPrimary(packet.request, 1, True)]


def test_a_new_primary_knows_who_has_which_key(node: Counter) -> None:
    node.put(1, options=UNTIL_DONE)
    node.take_over()
    assert holder(node, 2, UNTIL_DONE) == 1


def test_a_requeued_dead_letter_does_not_get_its_key_back(node: Counter) -> None:
    """Another message may have it."""
    node.put(1, options=UNTIL_DONE)
    node.kill(1)
    node.put(2, options=UNTIL_DONE)
    assert node.requeue(1) == ()
    assert holder(node, 3, UNTIL_DONE) == 2
    assert node.lease() == [1, 2]
    node.ack(1)
    assert holder(node, 4, UNTIL_DONE) == 2
