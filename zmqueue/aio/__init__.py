"""The asyncio client: the names of the sync one, awaited.

The client's core, its thread and everything that builds calls and reads answers are those of `zmqueue.client`; what is
here only waits differently. Works on any event loop; nothing is polled.
"""

from __future__ import annotations

from zmqueue.aio.client import Client
from zmqueue.aio.message import Message
from zmqueue.aio.ticket import Ticket
from zmqueue.aio.worker import Worker

__all__ = ["Client", "Message", "Ticket", "Worker"]
