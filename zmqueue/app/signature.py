"""Signatures: what a task's arguments and result are by its annotations, and how they stand in JSON.

Arguments travel by name: one JSON object with a member for each parameter that was given (a list for `*args`, an object
for `**kwargs`). Names are what other languages can write, and what a version that appends a parameter still reads. What
was not given is left out, so that the default is the worker's.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Generator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, create_model
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from zmqueue.client import payloads
from zmqueue.core.operations import Kind

JSON = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings",
                  arbitrary_types_allowed=True)
"""How what JSON has no word for is written: bytes as base64 (RFC 4648, section 5), NaN and infinities as texts."""

ONLY_THESE = JSON.copy()
ONLY_THESE["extra"] = "forbid"

VERSION_CHARACTERS = 16

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named ones, ready for the call."""


class Signature:
    """Of one function. Raises TypeError for one that no JSON object can stand for."""

    def __init__(self, function: Callable[..., object], names: Mapping[str, Any] | None = None) -> None:
        """`names`: what its annotations may name beside what its module holds."""
        self._signature = inspect.signature(function)
        self._parameters = list(self._signature.parameters.values())
        hints = typing.get_type_hints(function, localns=dict(names) if names else None, include_extras=True)
        fields: dict[str, Any] = {f"a{number}": _field(parameter, hints.get(parameter.name, Any))
                                  for number, parameter in enumerate(self._parameters)}
        # Aliases, and never the names themselves: a parameter may be called `copy`, `_x` or `model_config`.
        self._model: type[BaseModel] = create_model(
            f"arguments of {function.__name__}", __config__=ONLY_THESE, **fields)
        self.result = Returned(_result_of(function, hints.get("return", Any)))
        self.version = _version(self._model, self._signature)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The JSON object of a call.

        Raises TypeError where Python would refuse the call, or JSON cannot carry an argument; pydantic.ValidationError
        where an argument is not what its annotation says.
        """
        bound = self._signature.bind(*args, **kwargs)
        model = self._model.model_validate(bound.arguments)
        try:
            return model.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except PydanticSerializationError as error:
            raise TypeError(f"JSON cannot carry these arguments: {error}") from None

    def decode(self, data: bytes) -> Arguments:
        """The arguments of a JSON object. Raises pydantic.ValidationError."""
        model = self._model.model_validate_json(data)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_name = False                                  # one was left out: those after it can only be named
        for number, parameter in enumerate(self._parameters):
            name = f"a{number}"
            if name not in model.model_fields_set:
                by_name = True
                continue
            value = getattr(model, name)
            match parameter.kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    args.extend(value)
                case inspect.Parameter.VAR_KEYWORD:
                    kwargs.update(value)
                case inspect.Parameter.POSITIONAL_ONLY:
                    args.append(value)
                case inspect.Parameter.POSITIONAL_OR_KEYWORD if not by_name:
                    args.append(value)
                case _:
                    kwargs[parameter.name] = value
        return tuple(args), kwargs


class Returned(payloads.Reader):
    """What a function returns: bytes, text and None as such, everything else as JSON by its annotation."""

    def __init__(self, type_: Any) -> None:
        self._any = type_ is Any
        self._adapter = _adapter(None if type_ is type(None) else type_)

    def encode(self, value: object) -> payloads.Encoded:
        """Raises pydantic.ValidationError where it is not what was promised, TypeError where JSON cannot carry it."""
        if self._any:
            return payloads.Encoded(*payloads.encode(value))
        value = self._adapter.validate_python(value)
        if value is None or type(value) in (bytes, str):
            return payloads.Encoded(*payloads.encode(value))
        try:
            return payloads.Encoded(Kind.JSON, self._adapter.dump_json(value))
        except PydanticSerializationError as error:
            raise TypeError(f"JSON cannot carry this result: {error}") from None

    def read(self, kind: int, data: bytes) -> Any:
        """As `encode` was given it. Raises pydantic.ValidationError."""
        if kind == Kind.JSON and not self._any:
            return self._adapter.validate_json(data)
        value = payloads.decode(kind, data)
        return value if self._any else self._adapter.validate_python(value)


def _result_of(function: Callable[..., object], annotation: Any) -> Any:
    """The type of the result: of a generator, which yields progress, it is what it returns in the end."""
    if inspect.isasyncgenfunction(function):
        return None
    if not inspect.isgeneratorfunction(function):
        return annotation
    if annotation is Any:
        return Any
    arguments = typing.get_args(annotation)
    return arguments[2] if typing.get_origin(annotation) is Generator and len(arguments) == 3 else None


def _field(parameter: inspect.Parameter, annotation: Any) -> tuple[Any, Any]:
    if isinstance(parameter.default, FieldInfo):
        raise TypeError(f"the default of {parameter.name!r} is a Field, which a plain call would be given; write"
                        f" {parameter.name}: Annotated[..., Field(...)] instead")
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            return list[annotation], Field(default=None, alias=parameter.name)
        case inspect.Parameter.VAR_KEYWORD:
            return dict[str, annotation], Field(default=None, alias=parameter.name)
    if parameter.default is inspect.Parameter.empty:
        return annotation, Field(alias=parameter.name)
    return annotation, Field(default=None, alias=parameter.name)     # left out: the function has the default


def _adapter(type_: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(type_, config=JSON)
    except PydanticUserError as error:                   # a model, a dataclass: it has settings of its own
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(type_)


def _version(model: type[BaseModel], signature: inspect.Signature) -> str:
    try:
        schema = model.model_json_schema(by_alias=True)
        del schema["title"]                              # the function's name says nothing of its arguments
        facts = json.dumps(schema, sort_keys=True)
    except PydanticInvalidForJsonSchema:                 # a type that JSON schema has no word for: as it is written
        facts = str(signature)
    return hashlib.sha256(facts.encode()).hexdigest()[:VERSION_CHARACTERS]
