"""Processes that tests may kill: forked from a server that has the imports and no threads, never from pytest itself,
whose threads' locks a forked child would wait for in vain."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

DEADLINE = 120.0  # seconds


def server() -> ForkServerContext:
    """A fork server that has imported every step's libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [f"include.loop.{m}" for m in ("ingest", "train", "promote", "monitor", "release", "score")]
    )
    return context


def run(function: Callable[..., Any], *args: Any, **environment: str) -> int:
    """The exit code of `function`, of a module, in a process of its own. Raises TimeoutError."""
    child = server().Process(target=_run, args=(function, args, environment))
    child.start()
    child.join(DEADLINE)
    if child.exitcode is None:
        child.kill()
        raise TimeoutError(f"{function.__name__} did not end within {DEADLINE:g} s")
    return child.exitcode


def _run(function: Callable[..., Any], args: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    function(*args)
