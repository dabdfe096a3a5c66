"""Faults by swarm: each seed draws which kinds it uses and how hard, so that rare mixtures are met (Groce, 2012).

`swarm.py` draws and strikes; the kinds are in the other modules, each over the same `scene.py`. A kind is a method that
strikes once and says whether it could; a new one is a method and a line in its module's `kinds`.
"""
from __future__ import annotations

from tests.simulation.faults.swarm import Faults

__all__ = ["Faults"]
