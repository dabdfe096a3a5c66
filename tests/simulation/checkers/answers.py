"""What nodes answer to clients, packet by packet, held against what is committed and on which disks.

A confirmed submit is committed, on the disks of enough in-sync replicas (I9, R11), and from then on nobody may say that
it is unknown; once somebody was told that a message has ended, nobody may say "not yet" (I7, R10), and its result never
changes; a lease is granted once, under its own fencing number, to the session that asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.checkers import Violation
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.model import Life
from tests.simulation.checkers.told import LEASE, RESULT, Told
from zmqueue.core.answers import Answer, Code, Confirmed, Granted, Refused
from zmqueue.core.effects import Address
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import Operation, Requeued, State
from zmqueue.core.packets import Packet
from zmqueue.core.requests import Ask, Lease, Settling, Submit
from zmqueue.core.state import ClusterState
from zmqueue.testing import Observer, VirtualClient, VirtualNode


class Question:
    """An Ask on its way, and what was certain when it was sent."""

    __slots__ = ("ask", "confirmed", "ended")

    def __init__(self, ask: Ask, confirmed: bool, ended: bool) -> None:
        self.ask, self.confirmed, self.ended = ask, confirmed, ended


class Answers(Observer):
    """The book of requests and answers."""

    DURABLE = "a confirmed submit is committed and on enough disks"
    LINEAR = "a negative answer is true"
    RESULT = RESULT
    LEASE = LEASE
    SETTLED = "a confirmed settle holds"

    def __init__(self, logs: Logs, buckets: int) -> None:
        self.confirmed: dict[bytes, None] = {}         # ids, in the order of their first confirmation
        self.submitted: set[bytes] = set()             # ids that ever left a client
        self.words: Told[bytes] = Told()
        self.delivered = 0
        self.settled = 0
        self.negatives = 0                             # negative answers that were checked
        self._logs = logs
        self._buckets = buckets
        self._states: dict[str, list[ClusterState]] = {}   # by node: those that it knew in this turn
        self._reopened: set[bytes] = set()             # dead letters that were requeued
        logs.on_committed.append(self._committed)
        self._requests: dict[tuple[bytes, int], Submit | Settling | Lease | Question] = {}

    def _committed(self, bucket: int, seq: int, operation: Operation) -> None:
        """What ended by this, ended anew: it may end otherwise than was told."""
        if isinstance(operation, Requeued):
            self._reopened.update(operation.ids)
            for message_id in operation.ids:
                self.words.ended.pop(message_id, None)

    # --- requests ---

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        for packet in packets:
            match packet:
                case Submit():
                    self.submitted.update([message.id for message in packet.messages])
                    self._requests[client.identity, packet.request] = packet
                case Settling() | Lease():
                    self._requests[client.identity, packet.request] = packet
                case Ask():
                    self._requests[client.identity, packet.request] = Question(
                        packet, packet.id in self.confirmed, packet.id in self.words.ended)
                case _:
                    pass

    # --- answers ---

    def turned(self, node: VirtualNode) -> None:
        state = None if node.engine is None else node.engine.state
        if state is not None:
            self._states[node.name] = [*self._states.get(node.name, ())[-1:], state]

    def left(self, node: VirtualNode, to: Address, packets: Sequence[Packet]) -> None:
        if isinstance(to, str):
            return
        for packet in packets:
            request = self._requests.get((to, getattr(packet, "request", 0)))
            match packet, request:
                case Confirmed(), Submit():
                    self._submit_confirmed(node, request, packet)
                case Confirmed(), Settling():
                    self._settle_confirmed(node, request, packet)
                case Granted(), Lease():
                    self._granted_to(node, request, packet)
                case Answer(), Question():
                    self._answered(node, request, packet)
                case Refused(), Question():
                    self._refused(node, request, packet)
                case _:
                    pass

    def _life(self, message_id: bytes) -> Life | None:
        return self._logs.models[bucket_of(message_id, self._buckets)].lives.get(message_id)

    def _forgotten(self, message_id: bytes) -> bool:
        return message_id in self._logs.models[bucket_of(message_id, self._buckets)].forgotten

    def _submit_confirmed(self, node: VirtualNode, request: Submit, packet: Confirmed) -> None:
        refused = {index for index, _, _ in packet.refused} | {index for index, _ in packet.known}
        for _, message_id in packet.known:
            if self._life(message_id) is None and not self._forgotten(message_id):
                raise Violation(self.DURABLE, f"{node.name} says that {message_id.hex()} has a key, and it is not "
                                              "committed")
        seqs: dict[int, None] = {}
        for index, message in enumerate(request.messages):
            if index in refused:
                continue
            self.confirmed[message.id] = None
            life = self._life(message.id)
            if life is not None:
                seqs[life.seq] = None
            elif not self._forgotten(message.id):
                raise Violation(self.DURABLE, f"{node.name} confirms {message.id.hex()}, which is not committed")
        for seq in seqs:
            self._check_disks(node, request.bucket, seq)

    def _check_disks(self, node: VirtualNode, bucket: int, seq: int) -> None:
        # The answer was given in this turn, perhaps before a newer state came in the same turn.
        found = [(self._disks(state, bucket, seq), state.min_in_sync_now) for state in self._states[node.name]]
        if not any(held >= needed for held, needed in found):
            raise Violation(self.DURABLE, f"{node.name} confirms entry {seq} of bucket {bucket}, which {found[-1][0]} "
                                          f"in-sync disks hold; {found[-1][1]} must")

    def _disks(self, state: ClusterState, bucket: int, seq: int) -> int:
        members = [state.member(number) for number in state.in_sync[bucket]]
        nodes = [self._logs.nodes[member.id] for member in members if member is not None]
        # A dishonest disk had it when its node said so.
        return sum(1 for node in nodes
                   if node.name in self._logs.dishonest or self._logs.on_disk(node, bucket, seq))

    def _settle_confirmed(self, node: VirtualNode, request: Settling, packet: Confirmed) -> None:
        refused = {index for index, _, _ in packet.refused}
        for index, settle in enumerate(request.settles):
            life = self._life(settle.id)
            if index in refused:
                continue
            if life is None:
                if not self._forgotten(settle.id):
                    raise Violation(self.SETTLED, f"{node.name} confirms to settle {settle.id.hex()}, which is unknown")
            elif (settle.fencing, settle.how) not in life.settles:
                raise Violation(self.SETTLED, f"{node.name} confirms to settle {settle.id.hex()} under "
                                              f"{settle.fencing}, but no such settle is committed")
            elif life.state is State.DONE:
                self.settled += 1
                self.words.over(settle.id, State.DONE, life.result)

    def _granted_to(self, node: VirtualNode, request: Lease, packet: Granted) -> None:
        for grant in packet.grants:
            held, taker = (grant.submission.id, grant.fencing), (request.session, request.number)
            life = self._life(held[0])
            if life is None or life.sessions.get(grant.fencing) != taker:
                raise Violation(self.LEASE, f"{node.name} grants {held[0].hex()} under {held[1]}, but no such lease of "
                                            "that request is committed")
            if grant.submission != life.submission:
                raise Violation(self.LEASE, f"{node.name} hands out {held[0].hex()} changed")
            self.delivered += self.words.grant(*held, taker)

    def _answered(self, node: VirtualNode, question: Question, answer: Answer) -> None:
        message_id = question.ask.id
        life = self._life(message_id)
        if life is None:
            if not self._forgotten(message_id):
                raise Violation(self.RESULT, f"{node.name} knows {message_id.hex()}, which is not committed")
        elif State(answer.state).terminal:
            if life.state.shown != answer.state or (life.result != answer.result and question.ask.result):
                raise Violation(self.RESULT, f"{node.name} says that {message_id.hex()} is {State(answer.state).name} "
                                             f"{answer.result!r}; committed is {life.state.name} {life.result!r}")
            self.words.over(message_id, State(answer.state), life.result)
        else:
            self.negatives += 1
            if question.ended and message_id not in self._reopened:
                raise Violation(self.LINEAR, f"{node.name} says that {message_id.hex()} has not ended, after its end "
                                             "was told")

    def _refused(self, node: VirtualNode, question: Question, refused: Refused) -> None:
        if refused.code != Code.UNKNOWN_TOKEN:
            return
        self.negatives += 1
        if question.confirmed and not self._forgotten(question.ask.id):
            raise Violation(self.LINEAR, f"{node.name} does not know {question.ask.id.hex()}, which was confirmed "
                                         "before it was asked")
