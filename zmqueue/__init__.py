"""A durable, replicated message queue without a broker, over ZeroMQ.

Everything public is here. A name's module is imported when the name is first asked for: a client needs no node, and
`zmqueue --help` needs neither.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zmqueue import aio
    from zmqueue.app import App
    from zmqueue.app.context import Context, current
    from zmqueue.client.arguments import With
    from zmqueue.client.client import Client
    from zmqueue.client.composing import Chain, Join, chain, join
    from zmqueue.client.executors import Work
    from zmqueue.client.face import ClientStatistics
    from zmqueue.client.finding import Delivery, Found
    from zmqueue.client.foreman import WorkerStatistics
    from zmqueue.client.message import Message
    from zmqueue.client.parcels import Ack, Parcel, to
    from zmqueue.client.queues import Backoff, QueuePolicy
    from zmqueue.client.scheduling import ScheduleView
    from zmqueue.client.streaming import Event
    from zmqueue.client.sweeping import Held, Swept, WorkerView
    from zmqueue.client.ticket import Result, Status, Ticket
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
        GiveBack,
        IdTooOld,
        LeaseLost,
        NoAnswer,
        NotAllowed,
        NotEnoughReplicas,
        NotServing,
        QueueFull,
        Refused,
        Reject,
        RequestEnded,
        RequestFailed,
        ResultGone,
        ResultTimeout,
        SettleTimeout,
        SubmitManyFailed,
        SubmitTimeout,
        Unknown,
        UnknownSchedule,
        UnknownToken,
        ZmqueueError,
    )
    from zmqueue.node import AddressInUse, DirectoryInUse, Node, NodeFailed
    from zmqueue.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "AddressInUse",
    "App",
    "Backoff",
    "BadRequest",
    "BadToken",
    "BodyTooLarge",
    "Busy",
    "Chain",
    "Client",
    "ClientStatistics",
    "Closed",
    "ClusterUnreachable",
    "Context",
    "Delivery",
    "DirectoryInUse",
    "DiskFull",
    "Event",
    "Found",
    "GiveBack",
    "Held",
    "IdTooOld",
    "Join",
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
    "Parcel",
    "QueueFull",
    "QueuePolicy",
    "QueueView",
    "Refused",
    "Reject",
    "RequestEnded",
    "RequestFailed",
    "Result",
    "ResultGone",
    "ResultTimeout",
    "ScheduleView",
    "Settings",
    "SettleTimeout",
    "Status",
    "SubmitManyFailed",
    "SubmitTimeout",
    "Swept",
    "Ticket",
    "Unknown",
    "UnknownSchedule",
    "UnknownToken",
    "With",
    "Work",
    "Worker",
    "WorkerStatistics",
    "WorkerView",
    "ZmqueueError",
    "aio",
    "chain",
    "current",
    "join",
    "to",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:                      # a checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        """A public name that was not asked for before, or `aio`, which is one too."""
        if name == "aio":
            import zmqueue.aio
            return zmqueue.aio
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(_home(name), name)
        return found


def _home(name: str) -> ModuleType:
    """The module in which a public name is defined. Not by strings: what is imported can be seen here."""
    match name:
        case "AddressInUse" | "DirectoryInUse" | "Node" | "NodeFailed":
            from zmqueue import node
            return node
        case "App" | "Context" | "current":
            from zmqueue import app
            return app
        case "With":
            from zmqueue.client import arguments
            return arguments
        case "Client":
            from zmqueue.client import client
            return client
        case "ClientStatistics":
            from zmqueue.client import face
            return face
        case "Message":
            from zmqueue.client import message
            return message
        case "Backoff" | "QueuePolicy":
            from zmqueue.client import queues
            return queues
        case "ScheduleView":
            from zmqueue.client import scheduling
            return scheduling
        case "Event":
            from zmqueue.client import streaming
            return streaming
        case "Delivery" | "Found":
            from zmqueue.client import finding
            return finding
        case "Held" | "Swept" | "WorkerView":
            from zmqueue.client import sweeping
            return sweeping
        case "Result" | "Status" | "Ticket":
            from zmqueue.client import ticket
            return ticket
        case "Chain" | "Join" | "chain" | "join":
            from zmqueue.client import composing
            return composing
        case "Ack" | "Parcel" | "to":
            from zmqueue.client import parcels
            return parcels
        case "MemberView" | "MembersView" | "QueueView":
            from zmqueue.client import views
            return views
        case "Work":
            from zmqueue.client import executors
            return executors
        case "Worker":
            from zmqueue.client import worker
            return worker
        case "WorkerStatistics":
            from zmqueue.client import foreman
            return foreman
        case "Settings":
            from zmqueue import settings
            return settings
        case "BadToken":
            from zmqueue.core import ids
            return ids
        case _:
            from zmqueue import errors
            return errors
