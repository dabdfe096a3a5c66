"""Endpoints as people write them: `tcp://host:port`, with IPv6 addresses in brackets."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_SHAPE = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:.%]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5}|\*)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a TCP connection. `host` as written (with brackets where it is an IPv6 address)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    @property
    def bare_host(self) -> str:
        """The host without brackets, as socket functions take it."""
        return self.host.strip("[]")

    @property
    def wildcard(self) -> bool:
        """True where it stands for all addresses: something to listen on, but nothing to connect to."""
        if self.host == "*":
            return True
        try:
            return ipaddress.ip_address(self.bare_host).is_unspecified
        except ValueError:
            return False

    def at(self, port: int) -> Endpoint:
        """The same host with another port."""
        return Endpoint(self.host, port)


def parse_endpoint(text: str, what: str, *, zero: bool = False) -> Endpoint:
    """Read an endpoint. `what` names it in the error; `zero` allows port 0 (any free one).

    Raises ValueError with what was found and what is allowed.
    """
    found = _SHAPE.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{what} is {text!r}; it must look like tcp://127.0.0.1:7400 or tcp://[::1]:7400")
    port = 0 if found["port"] == "*" else int(found["port"])
    if port > 65_535 or (port == 0 and not zero):
        raise ValueError(f"{what} is {text!r}; the port must be {0 if zero else 1} to 65535")
    return Endpoint(found["host"], port)
