"""Named tuples that cost next to nothing to define: typing's take a quarter of a millisecond each, and a launch has forty."""

from __future__ import annotations

import os
from _operator import itemgetter

__all__ = ["NamedTuple", "plain"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class _Fields(type):
        """Makes a class whose body declares fields a tuple of them; one that declares none is as it stands."""

        def __new__(cls, name, bases, body):
            body.setdefault("__slots__", ())
            fields = tuple(body.get("__annotations__", ()))
            if fields:
                body["_field_defaults"] = {field: body[field] for field in fields if field in body}
                body["_fields"] = body["__match_args__"] = fields
                body.update((field, property(itemgetter(place))) for place, field in enumerate(fields))
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Fields):
        """As ``typing.NamedTuple``, for classes of modules with ``from __future__ import annotations``."""

        __slots__ = ()

        def __new__(cls, /, *values, **named):
            if named or len(values) != len(cls._fields):
                values = cls._whole(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _whole(cls, values, named):
            rest = cls._fields[len(values) :]
            given = cls._field_defaults | named
            missing = [field for field in rest if field not in given]
            if missing or len(values) > len(cls._fields) or not named.keys() <= set(rest):
                raise TypeError(
                    f"{cls.__name__}({', '.join(cls._fields)}) cannot be made of {len(values)} values and {[*named]}"
                )
            return (*values, *[given[field] for field in rest])

        def _replace(self, /, **named):
            return type(self)(**(self._asdict() | named))

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Settings by their names, with paths as text: pathlib costs a launch 7 ms."""
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
