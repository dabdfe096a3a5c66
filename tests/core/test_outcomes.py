"""What follows from a delivery that did not succeed, how long things are kept, and what an older cluster refuses."""

from __future__ import annotations

import pytest

from tests.core.counter import Counter
from zmqueue.core.answers import Answer, Code, Refused
from zmqueue.core.operations import NO_OPTIONS, Erased, How, Options, Requeued, State
from zmqueue.core.policies import Backoff, Policy, Shape, delay_ms
from zmqueue.core.records import Special
from zmqueue.core.requests import Cancel, Erase, GiveBack, Progress, Purge, Requeue


@pytest.fixture
def node() -> Counter:
    return Counter(Policy(attempts=2, losses=3))


def again(node: Counter, times: int, *, lost: bool = False) -> None:
    for _ in range(times):
        assert node.lease() == [1]
        if lost:
            node.lose()
        else:
            node.nack(1)


# --- failures and losses ----------------------------------------------------------------------------------------------


def test_failures_are_counted_to_their_own_limit(node: Counter) -> None:
    node.put(1)
    again(node, 2, lost=True)
    again(node, 1)
    assert node.state_of(1) is State.READY
    again(node, 1)
    record = node.record(1)
    assert (record.state, record.failures, record.losses) == (State.DEAD, 2, 2)
    assert "2 may fail" in record.error and "it failed" in record.error


def test_losses_are_counted_to_theirs(node: Counter) -> None:
    """A message that kills its workers ends too."""
    node.put(1)
    again(node, 1)
    again(node, 2, lost=True)
    assert node.state_of(1) is State.READY
    again(node, 1, lost=True)
    record = node.record(1)
    assert (record.state, record.failures, record.losses) == (State.DEAD, 1, 3)
    assert "3 may be lost" in record.error


def test_what_nobody_began_on_counts_as_neither(node: Counter) -> None:
    node.put(1)
    for _ in range(5):
        assert node.lease() == [1]
        node.codes(GiveBack(node.request(), 0, (node.held(1),)))
    record = node.record(1)
    assert (record.state, record.deliveries, record.failures, record.losses) == (State.READY, 0, 0, 0)


def test_a_messages_own_limits_go_before_its_queues(node: Counter) -> None:
    node.put(1, attempts=3, options=Options(losses=1))
    again(node, 2)
    assert node.state_of(1) is State.READY
    again(node, 1, lost=True)
    assert node.state_of(1) is State.DEAD


def test_where_nobody_says_anything_both_limits_are_the_clusters() -> None:
    node = Counter(deliveries_max=2)
    node.put(1)
    again(node, 1)
    again(node, 1, lost=True)
    assert node.state_of(1) is State.READY, "together they are two; each is one"
    again(node, 1)
    assert node.state_of(1) is State.DEAD


def test_a_requeued_letter_has_all_its_attempts_again(node: Counter) -> None:
    node.put(1)
    again(node, 2)
    assert node.requeue(1) == ()
    again(node, 1)
    assert node.state_of(1) is State.READY and node.special(1).requeued == 1
    again(node, 1)
    assert node.state_of(1) is State.DEAD


# --- backoff ----------------------------------------------------------------------------------------------------------


def rest(node: Counter) -> int:
    """How long the message rests from now on, ms."""
    record = node.record(1)
    return record.due - node.wall if record.state is State.DELAYED else 0


def test_the_queue_says_how_long_a_message_rests_after_each_failure() -> None:
    node = Counter(Policy(attempts=9, backoff=Backoff(Shape.EXPONENTIAL, (1_000,), most=3_000)))
    node.put(1)
    for expected in (1_000, 2_000, 3_000):
        node.lease()
        node.nack_as_the_queue_says(1)
        assert rest(node) == expected
        node.pass_time(expected / 1_000 + 0.1)


def test_a_message_may_say_it_itself() -> None:
    node = Counter(Policy(backoff=Backoff(Shape.CONSTANT, (1_000,))))
    node.put(1, options=Options(backoff=Backoff(Shape.LIST, (50, 700))))
    for expected in (50, 700, 700):
        node.lease()
        node.nack_as_the_queue_says(1)
        assert rest(node) == expected
        node.pass_time(expected / 1_000 + 0.1)


def test_the_jitter_is_the_ids_and_the_same_at_each_primary() -> None:
    backoff = Backoff(Shape.CONSTANT, (1_000,), jitter=50)
    node = Counter(Policy(backoff=backoff))
    node.put(1)
    node.lease()
    node.nack_as_the_queue_says(1)
    assert rest(node) == delay_ms(backoff, 1, node.id_of(1)) and 500 <= rest(node) <= 1_000


def test_a_handler_that_names_a_delay_has_the_last_word() -> None:
    node = Counter(Policy(backoff=Backoff(Shape.CONSTANT, (1_000,))))
    node.put(1)
    for delay in (40, 0):
        node.lease()
        node.nack(1, delay=delay)
        assert rest(node) == delay
        node.pass_time(0.1)


def test_losses_do_not_rest() -> None:
    node = Counter(Policy(backoff=Backoff(Shape.CONSTANT, (60_000,))))
    node.put(1)
    again(node, 2, lost=True)
    assert node.state_of(1) is State.READY


# --- how long things are kept -----------------------------------------------------------------------------------------


def result(node: Counter) -> object:
    answer = node.ask(1)
    return answer.result if isinstance(answer, Answer) else Code(answer.code) if isinstance(answer, Refused) else answer


def done(node: Counter, options: Options = NO_OPTIONS) -> None:
    node.put(1, options=options)
    node.lease()
    node.settle(1, data=b"result")
    assert result(node) == b"result"


def test_a_result_is_given_out_for_as_long_as_its_queue_says_and_the_message_is_remembered_longer() -> None:
    node = Counter(Policy(result_ttl_ms=3_000), dedup_window_ms=5_000)
    done(node)
    node.pass_time(2.5, step=0.5)
    assert result(node) == b"result"
    node.pass_time(1.0, step=0.5)
    assert result(node) is Code.RESULT_GONE
    node.put(1)
    assert node.state_of(1) is State.DONE, "a repeat of the submit is known"
    node.pass_time(9.0, step=0.5)
    assert node.replica.machine.find(node.id_of(1)) is None


def test_a_message_may_have_its_result_kept_longer() -> None:
    node = Counter(Policy(result_ttl_ms=3_000), dedup_window_ms=1_000)
    done(node, Options(keep=6_000))
    node.pass_time(5.5, step=0.5)
    assert result(node) == b"result"
    node.pass_time(2.0, step=0.5)
    assert result(node) is Code.UNKNOWN_TOKEN


def test_an_erased_result_is_gone_and_the_message_is_still_known() -> None:
    node = Counter()
    done(node)
    for _ in range(2):
        assert node.codes(Erase(node.request(), 0, (node.id_of(1),))) == ()
    assert result(node) is Code.RESULT_GONE
    assert (node.state_of(1), node.record(1).result, node.written(Erased)) == (State.DONE, b"", 1)


def test_what_is_not_done_has_no_result_to_erase() -> None:
    node = Counter()
    node.put(1)
    assert node.codes(Erase(node.request(), 0, (node.id_of(1), node.id_of(2)))) == (Code.ENDED, Code.UNKNOWN_TOKEN)


def test_a_purged_letter_is_dead_for_its_submitter_and_cannot_come_back() -> None:
    node = Counter()
    node.put(1, 2)
    node.kill(1)
    purge = (node.id_of(1), node.id_of(2), node.id_of(3))
    assert node.codes(Purge(node.request(), 0, purge)) == (Code.ENDED, Code.UNKNOWN_TOKEN)
    answer = node.ask(1)
    assert isinstance(answer, Answer) and (answer.state, answer.error) == (State.DEAD, "it failed")
    assert node.codes(Purge(node.request(), 0, (node.id_of(1),))) == ()
    assert node.requeue(1) == (Code.ENDED,)
    assert node.replica.machine.submission(node.id_of(1)) is None, "its body is gone"


def test_only_dead_letters_are_requeued_and_a_repeat_is_confirmed() -> None:
    node = Counter()
    node.put(1, 2)
    node.kill(1)
    node.ack(2)
    assert node.requeue(1, 2) == (Code.ENDED,)
    assert node.requeue(1) == ()
    assert node.written(Requeued) == 1
    assert node.lease() == [1]


# --- clusters with members of an earlier version ----------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda node: Cancel(9, 0, (node.id_of(1),)), lambda node: Requeue(9, 0, (node.id_of(1),)),
    lambda node: Purge(9, 0, (node.id_of(1),)), lambda node: Erase(9, 0, (node.id_of(1),)),
    lambda node: Progress(9, 0, node.id_of(1), 1, 1, ((0, b"half"),))],
    ids=["Cancel", "Requeue", "Purge", "Erase", "Progress"])
def test_what_earlier_versions_cannot_read_is_refused_and_nothing_is_written(make: object) -> None:
    node = Counter(generation=2)
    node.put(1)
    node.lease()
    before = node.replica.end
    assert callable(make)
    refusal = node.refused(make(node))
    assert refusal.code == Code.NOT_ALLOWED and "upgrade the others" in refusal.text
    assert node.replica.end == before


def test_options_are_refused_there_too_and_plain_messages_are_taken() -> None:
    node = Counter(generation=2)
    reply = node.submit(1, options=Options(group="g"))
    assert isinstance(reply, Refused) and reply.code == Code.NOT_ALLOWED and not node.replica.log
    node.put(1)


def test_what_is_decided_there_can_be_read_by_all() -> None:
    """No rules and no history: a failure there leaves a record as it always was, and all deliveries count together."""
    node = Counter(Policy(attempts=5, expires_ms=1_000), generation=2, deliveries_max=2)
    node.put(1)
    again(node, 1)
    again(node, 1, lost=True)
    record = node.record(1)
    assert record.state is State.DEAD and not isinstance(record, Special)
    assert not any(getattr(operation, "rules", ()) or getattr(operation, "options", ())
                   for operation in node.replica.log)


@pytest.mark.parametrize("how", [How.NACK, How.REJECT])
def test_a_result_of_a_failure_is_none(how: How) -> None:
    node = Counter(Policy(attempts=1))
    node.put(1)
    node.lease()
    node.settle(1, how, data=b"not a result")
    assert node.record(1).result == b""
