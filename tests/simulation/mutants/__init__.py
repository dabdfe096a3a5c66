"""Planted faults: mistakes that the rules forbid, put into the product for the length of a run, and only from here.

Each names the rule that it breaks, and the checkers that may be the first to see it; nothing in the shipped code knows
of them. They are the mistakes that an implementer is tempted to make: those of the protocol's appendix C that have a
place in the real code, and those of the product around it.
"""

from __future__ import annotations

from tests.simulation.mutants.ageing import AGEING
from tests.simulation.mutants.consensus import CONSENSUS
from tests.simulation.mutants.disasters import DISASTERS
from tests.simulation.mutants.disk import DISK
from tests.simulation.mutants.letters import LETTERS
from tests.simulation.mutants.outbox import OUTBOX
from tests.simulation.mutants.policies import POLICIES
from tests.simulation.mutants.programs import PROGRAMS
from tests.simulation.mutants.queueing import QUEUEING
from tests.simulation.mutants.reads import READS
from tests.simulation.mutants.replication import REPLICATION
from tests.simulation.mutants.sessions import SESSIONS
from tests.simulation.mutants.snapshots import SNAPSHOTS
from tests.simulation.mutants.state_function import STATE_FUNCTION
from tests.simulation.mutants.streaming import STREAMING
from tests.simulation.mutants.ticking import TICKING
from tests.simulation.mutants.topics import TOPICS
from tests.simulation.mutants.wishes import WISHES

MUTANTS = [*CONSENSUS, *STATE_FUNCTION, *REPLICATION, *SNAPSHOTS, *QUEUEING, *LETTERS, *OUTBOX, *TOPICS, *POLICIES,
           *AGEING, *SESSIONS, *READS, *STREAMING, *TICKING, *PROGRAMS, *DISK, *DISASTERS, *WISHES]
