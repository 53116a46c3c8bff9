"""What is used of contextlib, for processes that must be quick: contextlib loads functools and collections, 2 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack, contextmanager
else:

    class _Context:
        __slots__ = ("_steps",)

        def __init__(self, steps) -> None:
            self._steps = steps

        def __enter__(self):
            return next(self._steps)

        def __exit__(self, _, error, __) -> bool:
            if error is None:
                for _ in self._steps:
                    raise RuntimeError("a context has more than one yield")
                return False
            try:
                self._steps.throw(error)
            except StopIteration:
                return True
            except BaseException as raised:
                if raised is error:
                    return False
                raise
            raise RuntimeError("a context goes on after what was raised in it")

    def contextmanager(steps):
        """As contextlib's, for functions that are called with ``with`` and nothing else."""
        return lambda *values, **named: _Context(steps(*values, **named))

    class ExitStack:
        """As contextlib's, for contexts that swallow nothing."""

        __slots__ = ("_entered",)

        def __init__(self) -> None:
            self._entered = []

        def __enter__(self):
            return self

        def enter_context(self, context):
            """Enter ``context``, to be left with all others in the reverse order."""
            entered = context.__enter__()
            self._entered.append(context)
            return entered

        def close(self) -> None:
            """Leave all of them."""
            self.__exit__(None, None, None)

        def __exit__(self, *why: object) -> None:
            while self._entered:
                try:
                    self._entered.pop().__exit__(*why)
                except BaseException:
                    self.close()
                    raise


__all__ = ["ExitStack", "contextmanager"]
