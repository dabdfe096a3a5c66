"""The nemesis: real node processes on hosts of their own, real faults, and a judge of what programs were told."""
from __future__ import annotations
