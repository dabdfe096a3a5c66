"""The history of a run: each call of each program about each message, as the program sees it, by virtual time.

`Recorder.client` is what a cluster makes its clients from (`VirtualCluster(make_client=...)`), so whatever program is
written for a run, its calls are recorded. Questions that a program sends as packets of its own making are recorded too.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.checkers.history import Act, How, Seen, What
from tests.simulation.checkers.published import copies_of
from zmqueue.client.calls import AskCall, LeaseSayCall, SubmitCall
from zmqueue.client.leasing import Holding, LeaseCall, Slots
from zmqueue.client.publishing import PublishCall
from zmqueue.client.session import Session
from zmqueue.core import operations
from zmqueue.core.answers import Answer, Code, Refused
from zmqueue.core.operations import State
from zmqueue.core.packets import Packet
from zmqueue.core.requests import Ask, Cancel, Request, Requeue, Submit
from zmqueue.errors import RequestFailed, SubmitManyFailed, UnknownToken, ZmqueueError
from zmqueue.testing import Observer, VirtualClient, VirtualCluster

HOW = {operations.How.ACK: How.ACK, operations.How.NACK: How.NACK, operations.How.REJECT: How.REJECT}

Histories = dict[bytes, list[Act]]
"""By the id of the message."""


class Recorder(Observer):
    """The book of all programs' calls."""

    def __init__(self) -> None:
        self._ended: defaultdict[bytes, list[Act]] = defaultdict(list)
        self._submits: dict[SubmitCall, tuple[str, float]] = {}        # under way: program, when it began
        self._settles: dict[LeaseSayCall, Act] = {}              # under way
        self._refused: defaultdict[bytes, list[Act]] = defaultdict(list)
        self._wishes: dict[tuple[bytes, str, What], float] = {}        # when a program first told it
        self._posted: dict[tuple[str, int], tuple[bytes, float]] = {}  # questions of a program's own: (id, when)

    def client(self, cluster: VirtualCluster, name: str, dice: random.Random, seeds: Sequence[str]) -> VirtualClient:
        """Make a client whose calls are recorded."""
        return RecordedClient(self, cluster, name, dice, seeds)

    def histories(self, *, doubled: bool) -> Histories:
        """What is known of each message that any call was about; calls under way are of unknown outcome.

        `doubled`: the network doubled packets, so what was refused may have been stored by the other one. Then nothing
        is said of what was refused and sent again under another id: its program does not know the first one.
        """
        found: Histories = {message_id: list(calls) for message_id, calls in self._ended.items()}

        def add(message_id: bytes, call: Act) -> None:
            found.setdefault(message_id, []).append(call)
        for submit, (program, begun) in self._submits.items():
            for item in submit.items:
                if item.id is not None:    # confirmed or not: the program was not told
                    add(item.id, Act(What.SUBMIT, program, begun, payload=item.draft.payload))
        for settle, act in self._settles.items():
            add(settle.item.held[0], act)
            for carried_id, carried in carried_by(settle, act):
                add(carried_id, carried)
        for message_id, refused in self._refused.items() if doubled else ():
            for act in refused:
                add(message_id, act)
        if doubled:
            found = {message_id: calls for message_id, calls in found.items()
                     if any(call.what is What.SUBMIT for call in calls)}
        return found

    @property
    def submitted(self) -> Iterator[bytes]:
        """The ids that may be stored, for all that programs know."""
        for message_id, calls in self.histories(doubled=False).items():
            if any(call.what is What.SUBMIT for call in calls):
                yield message_id

    # --- calls ---

    def submitting(self, call: SubmitCall, program: str, begun: float) -> None:
        self._submits[call] = program, begun

    def submitted_all(self, call: SubmitCall, program: str, begun: float, now: float) -> None:
        """Each message of it is confirmed, refused, or of unknown fate."""
        self._submits.pop(call, None)
        errors = call.error.errors if isinstance(call.error, SubmitManyFailed) else {0: call.error}
        for index, item in enumerate(call.items):
            if item.id is not None:
                act = Act(What.SUBMIT, program, begun, payload=item.draft.payload)
                self._end(item.id, act, errors.get(index), now)

    def settling(self, call: LeaseSayCall, act: Act) -> None:
        if not call.finished:
            self._settles[call] = act

    def settled(self, call: LeaseSayCall, act: Act, now: float) -> None:
        self._settles.pop(call, None)
        self._end(call.item.held[0], act, call.error, now)
        for message_id, carried in carried_by(call, act):
            if call.error is None:
                self._ended[message_id].append(replace(carried, promised=True))
            else:
                self._end(message_id, carried, call.error, now)

    def _end(self, message_id: bytes, act: Act, error: ZmqueueError | None, now: float) -> None:
        """A call that changes something has ended; it had no end before."""
        if error is None:
            self._ended[message_id].append(replace(act, ended=now))
        elif error.definite:
            self._refused[message_id].append(act)
        else:
            self._ended[message_id].append(act)

    def published(self, call: PublishCall, topic: str, program: str, begun: float, now: float | None) -> None:
        """Its copies may be stored from then on, or, `now`, are confirmed."""
        submission = call.item.submission
        for message_id in copies_of(submission.id, topic):
            act = Act(What.SUBMIT, program, begun, payload=submission.payload)
            self._ended[message_id].append(act if now is None else replace(act, ended=now))

    def granted(self, holding: Holding, program: str, begun: float, now: float) -> None:
        self._ended[holding.id].append(Act(What.GRANT, program, begun, now, holding.fencing,
                                           payload=holding.submission.payload))

    def read(self, message_id: bytes, program: str, begun: float, now: float, answer: Answer | None,
             error: ZmqueueError | None) -> None:
        """A question was answered, or was not: then nothing is known by it."""
        given: bytes | None = None
        match answer, error:
            case Answer(state=State.DONE, result=result), _:
                seen, given = Seen.DONE, result
            case Answer(state=state), _:
                seen = Seen.of(State(state).name.lower())
            case _, UnknownToken():
                seen = Seen.UNKNOWN
            case _, RequestFailed(state=name):
                seen = Seen(name)
            case _:
                return
        self._ended[message_id].append(Act(What.READ, program, begun, now, seen=seen, result=given))

    # --- packets of a program's own ---

    def posted(self, client: RecordedClient, packets: Sequence[Request]) -> None:
        for packet in packets:
            match packet:
                case Ask():
                    self._posted[client.name, packet.request] = packet.id, client.moment
                case Submit():
                    for message in packet.messages:
                        self._wished(message.id, What.SUBMIT, client, message.payload)
                case Cancel() | Requeue():
                    for message_id in packet.ids:
                        self._wished(message_id, _WISH[type(packet)], client)
                case _:
                    pass

    def _wished(self, message_id: bytes, what: What, client: RecordedClient, payload: bytes | None = None) -> None:
        """What becomes of it nobody waits to hear. It is stored once, and ends once by a cancel, however often it is
        told so; a requeue may hold again."""
        told = self._wishes.setdefault((message_id, client.name, what), client.moment)
        if what is What.REQUEUE or told == client.moment:
            self._ended[message_id].append(Act(what, client.name, client.moment, payload=payload))

    def told(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        for packet in packets:
            asked = self._posted.pop((client.name, getattr(packet, "request", 0)), None)
            if asked is None or not isinstance(client, RecordedClient):
                continue
            message_id, begun = asked
            if isinstance(packet, Answer):
                self.read(message_id, client.name, begun, client.moment, packet, None)
            elif isinstance(packet, Refused) and packet.code == Code.UNKNOWN_TOKEN:
                self.read(message_id, client.name, begun, client.moment, None, UnknownToken(packet.text))


_WISH = {Cancel: What.CANCEL, Requeue: What.REQUEUE}


def carried_by(call: LeaseSayCall, act: Act) -> Iterator[tuple[bytes, Act]]:
    """The messages that a settle queues if it holds: (id, the submit of it). When they are stored, nobody is told."""
    settle = call.item.settle
    for parcel in () if settle is None else settle.then:
        parts = parcel.options.awaits.parts if parcel.options and parcel.options.awaits else ()
        for queued in (*parts, *(() if parcel.part else (parcel,))):
            yield queued.message.id, Act(What.SUBMIT, act.program, act.begun, payload=queued.message.payload)


class RecordedClient(VirtualClient):
    """A client that tells the recorder of what its program calls and is told."""

    def __init__(self, recorder: Recorder, cluster: VirtualCluster, name: str, dice: random.Random,
                 seeds: Sequence[str]) -> None:
        self._recorder = recorder
        super().__init__(cluster, name, dice, seeds)

    @property
    def moment(self) -> float:
        """The one time of the simulation, which no program knows."""
        return self._cluster.time.now

    def submit(self, queue: str, bodies: Sequence[bytes], timeout: float = 10.0, *,
               notify: Callable[[Any], None] | None = None, **more: Any) -> SubmitCall:
        recorder, begun = self._recorder, self.moment

        def told(call: SubmitCall) -> None:
            recorder.submitted_all(call, self.name, begun, self.moment)
            if notify is not None:
                notify(call)
        call = super().submit(queue, bodies, timeout, notify=told, **more)
        if not call.finished:
            recorder.submitting(call, self.name, begun)
        return call

    def publish(self, topic: str, body: bytes, timeout: float = 10.0, *, message_id: bytes | None = None,
                notify: Callable[[Any], None] | None = None) -> PublishCall:
        recorder, begun = self._recorder, self.moment

        def told(call: PublishCall) -> None:
            if call.error is None:
                recorder.published(call, topic, self.name, begun, self.moment)
            if notify is not None:
                notify(call)
        call = super().publish(topic, body, timeout, message_id=message_id, notify=told)
        recorder.published(call, topic, self.name, begun, None)
        return call

    def ask(self, message_id: bytes, timeout: float = 10.0, *, settled: bool = False,
            notify: Callable[[Any], None] | None = None) -> AskCall:
        recorder, begun = self._recorder, self.moment

        def told(call: AskCall) -> None:
            recorder.read(message_id, self.name, begun, self.moment, call.value, call.error)
            if notify is not None:
                notify(call)
        return super().ask(message_id, timeout, settled=settled, notify=told)

    def lease(self, queue: str, most: int = 1, wait: float = 1.0, lease_ms: int = 0,
              notify: Callable[[Any], None] | None = None) -> LeaseCall:
        recorder, begun = self._recorder, self.moment

        def told(call: LeaseCall) -> None:
            for holding in call.value or ():
                recorder.granted(holding, self.name, begun, self.moment)
            if notify is not None:
                notify(call)
        return super().lease(queue, most, wait, lease_ms, told)

    def work(self, queues: Sequence[str], slots: int, deliver: Callable[[Holding], None],
             failed: Callable[[ZmqueueError], None] = lambda error: None, lease_ms: int = 0) -> tuple[Session, Slots]:
        recorder, begun = self._recorder, self.moment

        def delivered(holding: Holding) -> None:
            recorder.granted(holding, self.name, begun, self.moment)
            deliver(holding)
        return super().work(queues, slots, delivered, failed, lease_ms)

    def settle(self, holding: Holding, how: operations.How, data: bytes = b"", error: str = "", delay_ms: int = 0,
               timeout: float = 10.0, notify: Callable[[Any], None] | None = None,
               then: Sequence[operations.Parcel] = ()) -> LeaseSayCall:
        result = data if how is operations.How.ACK else None
        act = Act(What.SETTLE, self.name, self.moment, fencing=holding.fencing, how=HOW[how], result=result)
        call = super().settle(holding, how, data, error, delay_ms, timeout, self._settled(act, notify), then)
        self._recorder.settling(call, act)
        return call

    def give_back(self, holding: Holding, timeout: float = 10.0,
                  notify: Callable[[Any], None] | None = None) -> LeaseSayCall:
        act = Act(What.SETTLE, self.name, self.moment, fencing=holding.fencing, how=How.GIVE_BACK)
        call = super().give_back(holding, timeout, self._settled(act, notify))
        self._recorder.settling(call, act)
        return call

    def _settled(self, act: Act, notify: Callable[[Any], None] | None) -> Callable[[LeaseSayCall], None]:
        def told(call: LeaseSayCall) -> None:
            self._recorder.settled(call, act, self.moment)
            if notify is not None:
                notify(call)
        return told

    def post(self, endpoint: str, packets: Sequence[Request]) -> None:
        self._recorder.posted(self, packets)
        super().post(endpoint, packets)
