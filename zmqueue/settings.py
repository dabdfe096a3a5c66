"""What may be set: checked where a person writes it, and agreed by the cluster when it is founded."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zmqueue.core.state import Agreed


class Settings(BaseModel):
    """The settings of a cluster. They are agreed when it is founded; a node that joins takes the cluster's.

    Times are in ms, sizes in bytes, as the names say. A value that cannot work is refused with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    buckets: int = Field(default=32, ge=1, le=4096,
                         description="slices of the hash space; fixed for the cluster's life")
    replicas: int = Field(default=3, ge=1, le=15,
                          description="nodes that hold a bucket; fewer where there are fewer members")
    min_in_sync: int = Field(default=2, ge=1, le=15,
                             description="in-sync replicas below which submits are refused")
    vnodes: int = Field(default=128, ge=128, le=1024,
                        description="a member's points on the ring, per unit of weight")
    heartbeat_ms: int = Field(default=100, ge=10, le=10_000, description="time between two heartbeats")
    suspicion_ms: int = Field(default=1_000, ge=50, le=60_000,
                              description="silence after which a member is suspected")
    replica_timeout_ms: int = Field(default=1_000, ge=50, le=60_000,
                                    description="an entry unanswered so long drops a replica")
    grace_ms: int = Field(default=30_000, ge=0, le=86_400_000,
                          description="time that a member that is down keeps its place")
    session_ms: int = Field(default=5_000, ge=200, le=600_000,
                            description="silence after which a worker's leases return")
    lease_ms: int = Field(default=30_000, ge=100, le=86_400_000,
                          description="how long a lease lasts unless it is renewed")
    deliveries_max: int = Field(default=10, ge=1, le=1_000_000,
                                description="deliveries after which a message is a dead letter")
    dedup_window_ms: int = Field(default=3_600_000, ge=60_000,
                                 description="age beyond which an unknown id is refused")
    result_ttl_ms: int = Field(default=86_400_000, ge=0,
                               description="how long an ended message is remembered, at least")
    body_bytes_max: int = Field(default=1_048_576, ge=1, le=8_388_608,
                                description="size of one payload or result")

    @model_validator(mode="after")
    def _fit(self) -> Settings:
        if self.min_in_sync > self.replicas:
            raise ValueError(f"min_in_sync is {self.min_in_sync}, more than the {self.replicas} replicas; "
                             "lower it, or raise replicas")
        if self.suspicion_ms < 3 * self.heartbeat_ms:
            raise ValueError(f"suspicion_ms is {self.suspicion_ms}; it must be at least three heartbeats "
                             f"({3 * self.heartbeat_ms}), else one lost packet makes a member suspect")
        return self

    def agreed(self) -> Agreed:
        """The same as the core's record."""
        return Agreed(**self.model_dump())
