"""The faults, by kind."""

from __future__ import annotations

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.faults.clocks import Clock
from tests.nemesis.faults.disks import DiskFull, FailingSync
from tests.nemesis.faults.files import BitFlip, OldCopy, Truncate
from tests.nemesis.faults.links import Partition, Rate, Reset
from tests.nemesis.faults.membership import Join, Replace
from tests.nemesis.faults.programs import Client, Fork, HeldInterpreter
from tests.nemesis.faults.proxied import Proxy
from tests.nemesis.faults.stops import Kill, Pause, Restart

FAULTS: dict[str, type[Fault]] = {fault.kind: fault for fault in (
    Kill, Pause, Restart, Partition, Rate, Reset, Proxy, DiskFull, FailingSync, BitFlip, Truncate, OldCopy, Clock, Join,
    Replace, Client, Fork, HeldInterpreter)}
"""All kinds that `--faults` takes."""

__all__ = ["FAULTS", "Fault", "Strike"]
