"""A durable, replicated message queue without a broker, over ZeroMQ."""

from __future__ import annotations

from zmqueue.client.client import Client
from zmqueue.client.executors import Work
from zmqueue.client.face import ClientStatistics
from zmqueue.client.foreman import WorkerStatistics
from zmqueue.client.message import Message
from zmqueue.client.ticket import Status, Ticket
from zmqueue.client.views import MembersView, MemberView, QueueView
from zmqueue.client.worker import Worker
from zmqueue.core.ids import BadToken
from zmqueue.errors import (
    BadRequest,
    BodyTooLarge,
    Busy,
    Closed,
    ClusterUnreachable,
    DiskFull,
    IdTooOld,
    LeaseLost,
    NoAnswer,
    NotAllowed,
    NotEnoughReplicas,
    NotServing,
    QueueFull,
    Refused,
    Reject,
    RequestFailed,
    ResultTimeout,
    SettleTimeout,
    SubmitManyFailed,
    SubmitTimeout,
    Unknown,
    UnknownToken,
    ZmqueueError,
)
from zmqueue.node import AddressInUse, DirectoryInUse, Node, NodeFailed
from zmqueue.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "BadRequest",
    "BadToken",
    "BodyTooLarge",
    "Busy",
    "Client",
    "ClientStatistics",
    "Closed",
    "ClusterUnreachable",
    "DirectoryInUse",
    "DiskFull",
    "IdTooOld",
    "LeaseLost",
    "MemberView",
    "MembersView",
    "Message",
    "NoAnswer",
    "Node",
    "NodeFailed",
    "NotAllowed",
    "NotEnoughReplicas",
    "NotServing",
    "QueueFull",
    "QueueView",
    "Refused",
    "Reject",
    "RequestFailed",
    "ResultTimeout",
    "Settings",
    "SettleTimeout",
    "Status",
    "SubmitManyFailed",
    "SubmitTimeout",
    "Ticket",
    "Unknown",
    "UnknownToken",
    "Work",
    "Worker",
    "WorkerStatistics",
    "ZmqueueError",
]
