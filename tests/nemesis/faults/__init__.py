"""The faults, by kind."""

from __future__ import annotations

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.faults.links import Partition, Rate, Reset
from tests.nemesis.faults.stops import Kill, Pause, Restart

FAULTS: dict[str, type[Fault]] = {fault.kind: fault for fault in (Kill, Pause, Partition, Rate, Reset, Restart)}
"""All kinds that `--faults` takes."""

__all__ = ["FAULTS", "Fault", "Strike"]
