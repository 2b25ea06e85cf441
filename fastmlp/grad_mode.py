"""Are operations recorded for gradients, or not: no_grad and its like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any


class Mode(threading.local):
    """enabled: are operations recorded? Each thread has its own."""

    enabled = True


thread = Mode()


class no_grad:
    """Within the block, or in a function that it decorates, operations are not recorded."""

    _wanted = False
    _before: list[bool]

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        self._before = []
        return self if function is None else self(function)  # @no_grad, or with parentheses

    def __enter__(self) -> None:
        self._before.append(thread.enabled)
        thread.enabled = self._wanted

    def __exit__(self, *exception: object) -> None:
        thread.enabled = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if isgeneratorfunction(function):
            return self._each_step_of(function)

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return inside

    def _each_step_of(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
        """A generator runs only while the next item is made, and so does the block around it."""

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            resume: Callable[[Any], Any] = generator.send
            sent: Any = None
            while True:
                with type(self)():
                    try:
                        item = resume(sent)
                    except StopIteration as end:
                        return end.value
                    finally:
                        sent = None  # an exception would keep this frame alive
                resume = generator.send
                try:
                    sent = yield item
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as e:
                    resume, sent = generator.throw, e

        return inside


class enable_grad(no_grad):
    """Within the block, or in a function that it decorates, operations are recorded, though it be within `no_grad`."""

    _wanted = True


class set_grad_enabled:
    """Record operations for gradients from now on, or do not; in a `with` statement, until the end of the block."""

    def __init__(self, mode: bool) -> None:
        self._before = thread.enabled
        thread.enabled = bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        thread.enabled = self._before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """As a decorator: in the function alone."""
        wanted, thread.enabled = thread.enabled, self._before
        return (enable_grad if wanted else no_grad)()(function)


def is_grad_enabled() -> bool:
    """Are operations recorded for gradients, here and now?"""
    return thread.enabled
