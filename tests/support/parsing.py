"""`ast.parse` without the garbage collector.

Python 3.11 fails now and then with "AST constructor recursion depth mismatch" if the collector runs while a text is
parsed (gh-106905). pytest parses every test module, and Hypothesis those of its properties.
"""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Callable
from typing import Any


def _without_collector(parse: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(parse)
    def parsed(*args: Any, **kwargs: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return parse(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    return parsed


def use() -> None:
    """From now on, in this process."""
    ast.parse = _without_collector(ast.parse)
