"""`zmqueue node`: run one node until it is told to stop."""

from __future__ import annotations

import logging
import math
import re
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel, ConfigDict, ValidationError

import zmqueue
from zmqueue.cli.common import FAILED, fail, guarded, json_option, print_json, say
from zmqueue.store.reserve import RESERVE_BYTES

PATIENCE_S = 5.0                       # then a node that does not serve yet says what it waits for
LEVELS = ("debug", "info", "warning", "error")


class OfThisNode(BaseModel):
    """The table [node] of the file: what is this node's own, and not agreed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    disk_reserve_bytes: int | None = None
    map_bytes_max: int | None = None


if TYPE_CHECKING:
    _Type = click.ParamType[int]
else:
    _Type = click.ParamType            # it is generic only for type checkers, and since click 8.2


class Size(_Type):
    """Bytes, as 67108864 or 64MiB."""

    name = "SIZE"
    _units: Mapping[str, int] = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)([A-Za-z]*)", value, re.ASCII)
        if found is None or found[2] not in self._units:
            self.fail(f"{value!r} is no size; give bytes, or a number with KiB, MiB or GiB: 64MiB", param, ctx)
        return int(found[1]) * self._units[found[2]]


def _configured(path: Path | None) -> tuple[zmqueue.Settings, OfThisNode]:
    if path is None:
        return zmqueue.Settings(), OfThisNode()
    try:
        agreed = tomllib.loads(path.read_text(encoding="utf-8"))
        own = agreed.pop("node", {})
        return zmqueue.Settings(**agreed), OfThisNode.model_validate(own)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read as TOML: {error}") from None
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
        raise click.UsageError(f"{path}: {reasons}") from None


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Its directory; made if missing and --found or --join is given.")
@click.option("--listen", default="tcp://127.0.0.1:7400", show_default=True, metavar="ENDPOINT",
              help="Where it listens; port 0 is any free one, kept over restarts.")
@click.option("--advertise", default=None, metavar="ENDPOINT", help="The same as others reach it, where it differs.")
@click.option("--found", is_flag=True, help="Found a cluster, if the directory has none.")
@click.option("--join", multiple=True, metavar="ENDPOINT", help="A member to ask for membership; may be repeated.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None, metavar="FILE",
              help="TOML with the cluster's settings (buckets, replicas, ...), agreed at founding, and a table [node] "
                   "with this node's own (disk_reserve_bytes, map_bytes_max).")
@click.option("--heartbeat-port", type=click.IntRange(0, 65_535), default=0, help="Of its PUB socket; 0: any free one.")
@click.option("--weight", type=click.IntRange(0, 100), default=1, show_default=True,
              help="Its share of the buckets when it joins; 0 votes and holds nothing. Later: zmqueue weight.")
@click.option("--zone", default="", help="Its zone when it joins: replicas go to different ones where there are "
              "enough. Later: zmqueue zone.")
@click.option("--disk-reserve", type=Size(), default=None, help="Disk that is kept ahead, as 64MiB (the default): "
              "below it submits are refused, and the rest goes on.")
@click.option("--map-max", type=Size(), default=None, help="How large the store's file may become; as the disk allows.")
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True)
@json_option
@guarded
def node(data: Path, listen: str, advertise: str | None, found: bool, join: tuple[str, ...], config: Path | None,
         heartbeat_port: int, weight: int, zone: str, disk_reserve: int | None, map_max: int | None, log_level: str,
         as_json: bool) -> None:
    """Run one node, and print one line with its endpoint once it serves.

    An empty directory needs an explicit word: --found makes a new cluster, --join enters one. A directory that has a
    cluster needs neither. SIGTERM and SIGINT stop it after it has handed its buckets over.

    \b
    zmqueue node --data var/a --found
    zmqueue node --data var/b --listen tcp://127.0.0.1:7401 --join tcp://127.0.0.1:7400
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings, own = _configured(config)
    reserve = own.disk_reserve_bytes if disk_reserve is None else disk_reserve
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    made = zmqueue.Node(data, listen, advertise=advertise, found=found, join=join, settings=settings,
                        heartbeat_port=heartbeat_port, weight=weight, zone=zone,
                        disk_reserve_bytes=RESERVE_BYTES if reserve is None else reserve,
                        map_bytes_max=own.map_bytes_max if map_max is None else map_max)
    made.start(wait=0)
    try:
        _serve(made, stop, join, as_json)
        error = made.error
    finally:
        made.stop()
    if error is not None:
        fail(f"the node stopped: {error}", FAILED)


def _serve(made: zmqueue.Node, stop: threading.Event, join: tuple[str, ...], as_json: bool) -> None:
    """Say when it serves, and return when it is to stop, or has ended by itself."""
    patience = time.monotonic() + PATIENCE_S
    while not made.serving and not stop.is_set() and not made.wait(0.02):
        if time.monotonic() > patience:                  # it goes on, however long that takes
            patience = math.inf
            say(f"node {made.id} is not taken up yet; it needs a majority of the cluster's nodes"
                + (f", and an answer from {', '.join(join)}" if join else ""))
    if made.serving:
        if as_json:
            print_json({"endpoint": made.endpoint, "id": made.id})
        else:
            click.echo(f"node {made.id} serves at {made.endpoint}")
        sys.stdout.flush()
    while not stop.is_set() and not made.wait(0.2):
        pass
