"""Options of a submit: where groups and keys lie, what a duplicate is told, what older nodes are spared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client import arguments
from zmqueue.client.queues import Backoff
from zmqueue.core.answers import NotPrimary, Reply
from zmqueue.core.ids import bucket_of, place_of, token_of
from zmqueue.core.operations import Options, Scope, place_of_key
from zmqueue.core.requests import Submit
from zmqueue.core.state import Agreed
from zmqueue.errors import NotAllowed

NEW = Agreed(generation=3, replicas=3, min_in_sync=2)


def test_the_place_of_a_group_or_a_key_is_the_same_in_every_version() -> None:
    assert place_of_key("q", Options(group="a")) == 38_209
    assert place_of_key("q", Options(unique="a")) == 17_165
    assert place_of_key("q", Options(group="a", unique="b")) == place_of_key("q", Options(group="a"))
    assert place_of_key("q", Options(expires=1)) is None


def test_messages_of_a_group_lie_in_one_bucket_and_groups_in_many() -> None:
    rig = Rig(settings=NEW).ready()
    calls = {group: rig.submit(10, options=Options(group=group)) for group in "abcdefghij"}
    rig.until_done(*calls.values())
    places = {group: {place_of(item.id) for item in call.items if item.id} for group, call in calls.items()}
    assert places == {group: {place_of_key("q", Options(group=group))} for group in calls}
    assert len({packet.bucket for packet in rig.packets(Submit)}) > 5


def test_messages_of_a_group_arrive_in_order_through_a_failover() -> None:
    rig = Rig(settings=NEW).ready()
    bucket = (place_of_key("q", Options(group="g")) or 0) * NEW.buckets >> 16
    primary = rig.cluster.primary(bucket)
    assert primary is not None
    calls = [rig.submit(body=b"%d" % number, options=Options(group="g")) for number in range(5)]
    rig.run(0.0015)
    rig.mute = lambda node, reply: node == primary           # they arrive, and nobody is told
    calls += [rig.submit(body=b"%d" % number, options=Options(group="g")) for number in range(5, 10)]
    rig.run(0.2)
    rig.dead.add(primary)
    rig.cluster.state = without(rig.cluster.state, primary)
    rig.until_done(*calls)
    assert all(call.error is None for call in calls)
    assert [stored.submission.payload for stored in rig.cluster.stored.values()] == [b"%d" % each for each in range(10)]


def test_an_id_of_a_group_is_not_drawn_anew_elsewhere_when_it_is_refused() -> None:
    rig = Rig(settings=NEW).ready()
    call = rig.submit(options=Options(group="g"), timeout=1.0)
    rig.mute = lambda node, reply: isinstance(reply, NotPrimary)
    rig.cluster.refuse = dict.fromkeys(NODES, (9, "busy"))   # type: ignore[arg-type]  # Code.BUSY
    rig.run(0.3)
    rig.cluster.refuse.clear()
    rig.until_done(call)
    ids = {message.id for packet in rig.packets(Submit) for message in packet.messages}
    assert len(rig.packets(Submit)) > 1 and len(ids) == 1


def test_a_duplicate_is_told_which_message_is_there() -> None:
    rig = Rig(settings=NEW).ready()
    first, second = rig.submit(options=Options(unique="k")), rig.submit(options=Options(unique="k"))
    other = rig.submit(options=Options(unique="k2"))
    rig.until_done(first, second, other)
    assert first.items[0].known is None and other.items[0].known is None
    assert second.items[0].known == second.items[0].id == first.items[0].id
    assert len(rig.cluster.stored) == 2


def test_a_late_answer_to_a_duplicate_counts() -> None:
    rig = Rig(settings=NEW).ready()
    rig.until_done(rig.submit(options=Options(unique="k")))
    held: list[tuple[str, Reply]] = []

    def hold(node: str, reply: Reply) -> bool:
        held.append((node, reply))
        return True

    rig.mute = hold
    again = rig.submit(options=Options(unique="k"))
    rig.run(0.1)
    (node, reply), = held
    rig.run(1.0)                                             # given up, and sent again
    assert len(rig.packets(Submit)) > 2
    ended: list[object] = []
    again.notify = ended.append
    rig.core.on_packets(node, rig.cluster.envelope(), [reply], rig.now)
    assert ended == [again] and again.items[0].known is not None


def test_what_has_options_travels_apart_from_what_has_none() -> None:
    rig = Rig(settings=NEW).ready()
    rig.until_done(*[rig.submit(options=Options(expires=9)) if number % 2 else rig.submit() for number in range(100)])
    packets = rig.packets(Submit)
    assert {len(packet.options) for packet in packets if packet.options} <= {len(packet.messages) for packet in packets}
    assert all(not packet.options or len(packet.options) == len(packet.messages) for packet in packets)
    assert sum(len(packet.options) for packet in packets) == 50 and len(packets) <= 6


def test_a_cluster_with_older_nodes_is_sent_no_options() -> None:
    rig = Rig().ready()                                      # generation 2
    call, plain = rig.submit(options=Options(group="g")), rig.submit()
    spread = rig.submit(options=Options(expires=9))
    rig.until_done(call, plain, spread)
    for refused in (call, spread):
        assert isinstance(refused.error, NotAllowed) and refused.error.definite
    assert plain.error is None and len(rig.packets(Submit)) == 1


def test_times_count_from_the_submit_by_the_clusters_clock() -> None:
    rig = Rig(settings=NEW).ready()
    rig.heartbeat(NODES[0], wall=5_000_000_000)              # far from the client's own clock
    moment = datetime.fromtimestamp(6_000_000, UTC)
    relative = arguments.draft("x", {"delay": 2.0, "expires": 10.0})
    absolute = arguments.draft("x", {"eta": moment, "expires": moment + timedelta(seconds=1)})
    wall = rig.core.routing.cluster_wall(rig.now)
    assert abs(wall - 5_000_000_000) < 2_000
    assert (relative.due_at(wall), absolute.due_at(wall)) == (wall + 2_000, 6_000_000_000)
    options = relative.options_at(wall), absolute.options_at(wall)
    assert [each and each.expires for each in options] == [wall + 10_000, 6_000_001_000]


def test_everything_that_may_be_said_stands_in_the_options() -> None:
    draft = arguments.draft("x", {
        "group": "g", "unique": "u", "unique_window": 60.0, "losses": 2, "deadline": 0.5, "result_ttl": 3.0,
        "backoff": Backoff.constant(1.5)})
    assert draft.options == Options(0, "g", "u", Scope.WINDOW, 60_000, 2, 3_000, 500, Backoff.constant(1.5).core())
    assert arguments.draft("x", {"unique": "u", "unique_scope": "waiting"}).options.scope == Scope.WAITING
    assert arguments.draft("x", {"priority": 3, "delay": 1.0, "attempts": 2}).options_at(0) is None


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"group": ""}, ValueError, "group has 0 bytes in UTF-8; allowed are 1 to 1,024"),
    ({"group": "é" * 513}, ValueError, "group has 1,026 bytes"),
    ({"unique": 7}, TypeError, "unique is a text, got int"),
    ({"unique_scope": "waiting"}, TypeError, "give unique="),
    ({"unique": "a", "unique_scope": "window"}, ValueError, "allowed are 'done' and 'waiting'"),
    ({"unique": "a", "unique_scope": "done", "unique_window": 1.0}, TypeError, "not both"),
    ({"delay": 1.0, "eta": datetime(2040, 1, 1, tzinfo=UTC)}, TypeError, "a delay or an eta, and not both"),
    ({"eta": datetime(2040, 1, 1, tzinfo=UTC).replace(tzinfo=None)}, ValueError, "without a time zone"),
    ({"eta": 5.0}, TypeError, "eta is a datetime with a time zone, got float"),
    ({"expires": 0}, ValueError, "expires is 0 seconds"),
    ({"losses": 0}, ValueError, "losses is 0; allowed is 1 to"),
    ({"backoff": 1.0}, TypeError, "backoff is a zmqueue.Backoff, got float"),
    ({"deadline": -1.0}, ValueError, "deadline is -1.0 seconds"),
])
def test_what_cannot_be_is_refused_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        arguments.draft("x", options)


def test_a_chosen_id_lies_with_its_group_or_is_refused() -> None:
    place = place_of_key("q", Options(group="g"))
    assert place is not None
    rig = Rig(settings=NEW).ready()
    rig.until_done(first := rig.submit(options=Options(group="g")))
    token = first.items[0].id
    assert token is not None and bucket_of(token, 32) == place * 32 >> 16
    draft = arguments.draft("x", {"id": token_of(token), "group": "g"})
    assert arguments.in_place("q", draft) is draft
    with pytest.raises(ValueError, match="draw it with new_id"):
        arguments.in_place("q", arguments.draft("x", {"id": token_of(token), "group": "h"}))
