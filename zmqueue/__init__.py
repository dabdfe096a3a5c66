"""A durable, replicated message queue without a broker, over ZeroMQ."""

from __future__ import annotations

__version__ = "0.1.0"
