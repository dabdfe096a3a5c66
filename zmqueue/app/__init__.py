"""Typed tasks: functions whose arguments, results and errors travel through queues by their annotations.

`App` has the tasks and the clients, `Task` submits calls of one function, `running.py` is the worker's side. What
stands on the wire is in `signature.py` (JSON by name), `bodies.py` (hooks that encrypt or compress) and docs/tasks.md.
"""

from __future__ import annotations

from zmqueue.app.app import App
from zmqueue.app.bodies import Codec, NotEncoded
from zmqueue.app.context import Context, current
from zmqueue.app.middleware import Middleware, Outgoing
from zmqueue.app.task import Call, Task
from zmqueue.app.tickets import AsyncTaskTicket, TaskTicket

__all__ = ["App", "AsyncTaskTicket", "Call", "Codec", "Context", "Middleware", "NotEncoded", "Outgoing", "Task",
           "TaskTicket", "current"]
