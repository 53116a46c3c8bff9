"""Values are what typing's named tuples and contextlib's contexts would make of them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from gridwarden.contexts import ExitStack, contextmanager
from gridwarden.values import NamedTuple, plain


class Point(NamedTuple):
    """A point."""

    x: int
    y: int = 2

    @property
    def both(self) -> int:
        return self.x + self.y


def test_a_value_has_its_fields_in_order_by_name_and_by_default() -> None:
    assert Point(1) == Point(x=1, y=2) == Point(y=2, x=1) == (1, 2)
    assert Point(1, 5).y == 5
    assert Point(1).both == 3
    assert Point(1)._replace(y=7) == (1, 7)
    assert Point(1)._asdict() == {"x": 1, "y": 2}
    assert Point._fields == ("x", "y")
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert copy.copy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == (1, 2)  # noqa: S301
    match Point(3):
        case Point(x, y):
            assert (x, y) == (3, 2)


@pytest.mark.parametrize(("given", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_a_value_with_a_field_too_few_or_too_many_is_none(given: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*given, **named)


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2
    with pytest.raises(AttributeError):
        Point(1).z = 2


def test_paths_of_settings_become_text() -> None:
    assert plain({"a": Path("/x"), "b": 1, "c": None}) == {"a": "/x", "b": 1, "c": None}


@contextmanager
def noting(said: list[str], name: str, *, swallow: bool = False):
    said.append(f"{name} in")
    try:
        yield name
    except KeyError:
        if not swallow:
            raise
    finally:
        said.append(f"{name} out")


def test_contexts_are_left_whatever_is_raised_in_them() -> None:
    said: list[str] = []
    with noting(said, "a") as given:
        assert given == "a"
    with pytest.raises(KeyError), noting(said, "b"):
        raise KeyError
    with noting(said, "c", swallow=True):
        raise KeyError
    assert said == ["a in", "a out", "b in", "b out", "c in", "c out"]


def test_a_stack_of_contexts_is_left_from_the_last_to_the_first() -> None:
    said: list[str] = []
    with pytest.raises(KeyError), ExitStack() as stack:
        stack.enter_context(noting(said, "a"))
        stack.enter_context(noting(said, "b"))
        raise KeyError
    assert said == ["a in", "b in", "b out", "a out"]
    with ExitStack() as stack:
        stack.enter_context(noting(said, "c"))
        stack.close()
        assert said[-1] == "c out"
    assert said.count("c out") == 1
