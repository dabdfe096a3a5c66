"""Bodies: how arguments and results stand on the wire, and the hooks that encrypt or compress them.

Without hooks a body is the plain value (JSON, text, bytes). With hooks it is bytes that say so themselves, because a
result has no headers: a line of ASCII, `zmqueue-body/1 KIND NAME,NAME...`, where KIND is what is inside and the names
are the hooks in the order in which they were applied; then a line feed, and what the last of them made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from zmqueue.client import payloads
from zmqueue.core.operations import Kind
from zmqueue.errors import GiveBack

MARK = b"zmqueue-body/1 "
LINE_BYTES_MAX = 1_024
KINDS = {Kind.NONE: "none", Kind.BYTES: "bytes", Kind.TEXT: "text", Kind.JSON: "json"}


class Codec(Protocol):
    """A payload hook: what is done to all bodies of an app, and undone. Called from any thread."""

    @property
    def name(self) -> str:
        """Stands on the wire: ASCII letters, digits, `.`, `_`, `-`. A change of the format is a new name."""
        ...

    def encode(self, data: bytes, /) -> bytes:
        """Bytes for the wire."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """The bytes that `encode` was given. Raises where these are none that it made."""
        ...


class NotEncoded(ValueError):
    """A body came plain, though the app's bodies are encoded (`accept_plain` takes it)."""


class Bodies:
    """Wraps and unwraps the bodies of one app."""

    def __init__(self, codecs: Sequence[Codec], accept_plain: bool) -> None:
        self._codecs = {codec.name: codec for codec in codecs}
        self._accept_plain = accept_plain or not codecs
        for name in self._codecs:
            if not name or not name.isascii() or not name.replace(".", "").replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"a codec's name is of ASCII letters, digits, '.', '_' and '-', this is {name!r}")
        if len(self._codecs) != len(codecs):
            raise ValueError("two codecs have the same name: the wire tells them apart by it")

    def wrap(self, body: payloads.Encoded) -> payloads.Encoded:
        """For the wire."""
        if not self._codecs:
            return body
        data = body.data
        for codec in self._codecs.values():
            data = codec.encode(data)
        line = f"{KINDS[Kind(body.kind)]} {','.join(self._codecs)}\n"
        return payloads.Encoded(Kind.BYTES, MARK + line.encode() + data)

    def unwrap(self, body: payloads.Encoded) -> payloads.Encoded:
        """From the wire. Raises NotEncoded; GiveBack where it needs a codec that this app does not have."""
        if not self._codecs:
            return body                                  # its own bytes may begin as they like
        if body.kind != Kind.BYTES or not body.data.startswith(MARK):
            if self._accept_plain:
                return body
            raise NotEncoded("this body is plain; the app takes only what its codecs made (accept_plain=True takes it)")
        kind, names, data = _split(body.data)
        for name in reversed(names):
            codec = self._codecs.get(name)
            if codec is None:
                raise GiveBack(f"its body is encoded by {name!r}, which this app does not know")
            data = codec.decode(data)
        return payloads.Encoded(kind, data)

    def told(self, data: object) -> object:
        """Progress for the wire: what a handler tells is not less secret than what it returns."""
        return self.wrap(payloads.Encoded(*payloads.encode(data))) if self._codecs else data

    def heard(self, data: Any) -> Any:
        """What `told` was given. Raises ValueError where it cannot be unwrapped."""
        return self.reader(Plain()).read(Kind.BYTES, data) if self._codecs and isinstance(data, bytes) else data

    def reader(self, inner: payloads.Reader) -> payloads.Reader:
        """Reads what is inside a body."""
        return Unwrapping(self, inner) if self._codecs else inner


class Unwrapping(payloads.Reader):
    """Undoes the hooks first."""

    def __init__(self, bodies: Bodies, inner: payloads.Reader) -> None:
        self._bodies = bodies
        self._inner = inner

    def read(self, kind: int, data: bytes) -> Any:
        """What the inner one reads. Raises ValueError where the body cannot be unwrapped."""
        try:
            body = self._bodies.unwrap(payloads.Encoded(kind, data))
        except GiveBack as error:
            raise ValueError(f"this result cannot be read: {error}") from None
        return self._inner.read(body.kind, body.data)


class Plain(payloads.Reader):
    """Without a type."""

    def read(self, kind: int, data: bytes) -> Any:
        return payloads.decode(kind, data)


class AsItIs(payloads.Reader):
    """Leaves bytes alone."""

    def read(self, kind: int, data: bytes) -> payloads.Encoded:
        return payloads.Encoded(kind, data)


def _split(data: bytes) -> tuple[int, list[str], bytes]:
    end = data.find(b"\n", 0, LINE_BYTES_MAX)
    words = data[len(MARK):end].decode("ascii", "replace").split(" ")
    kinds = {word: kind for kind, word in KINDS.items()}
    if end < 0 or len(words) != 2 or words[0] not in kinds:
        raise ValueError(f"the first line of this body is none that zmqueue writes: {data[:80]!r}")
    return kinds[words[0]], words[1].split(","), data[end + 1:]
