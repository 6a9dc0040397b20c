"""Processes and ports of this machine, as far as this user may see them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import psutil

from scripts.stack.config import HOST, MARKER, Stack


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now. A port left in TIME_WAIT counts as free, as for the servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on a port, in words; empty when it cannot be seen (another user's process)."""
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    command = " ".join(psutil.Process(connection.pid).cmdline())[:100]
                    return f"process {connection.pid} ({command})"
    return ""


def of_stack(stack: Stack) -> list[psutil.Process]:
    """Every living process that carries the stack's marker, except this one and those it was started from."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    return [p for p in psutil.process_iter() if p.pid not in own and _carries(p, str(stack.home))]


def _carries(process: psutil.Process, value: str) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == value
    return False


def end(stack: Stack, grace: float = 8.0) -> int:
    """End all processes of the stack: asked first, killed after `grace` seconds. Returns how many there were.

    Looks again until none is left: a process that is being ended may still start another.
    """
    ended: set[int] = set()
    for _ in range(5):
        found = of_stack(stack)
        if not found:
            break
        ended |= {p.pid for p in found}
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(found, timeout=grace)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=3)
    return len(ended)


def wait_gone(stack: Stack, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while of_stack(stack):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
