"""Command line of the local stack: `python -m scripts.stack up|down|status|logs|exec`. See `make help`."""

from __future__ import annotations

import argparse
import os
import sys

from include.release import ledger
from scripts.stack import control, processes, supervisor
from scripts.stack.config import BadPort, Stack, environment, from_environment, passwords, running_ports


def main() -> int:
    arguments = _parse()
    try:
        stack = from_environment()
        if arguments.command not in ("up", "serve"):
            stack = running_ports(stack)
        return _COMMANDS[arguments.command](stack, arguments)
    except (control.StackError, BadPort) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "serve"):
        commands.add_parser(name)
    logs = commands.add_parser("logs")
    logs.add_argument("names", nargs="*")
    logs.add_argument("--no-follow", action="store_true")
    run = commands.add_parser("exec")
    run.add_argument("line", nargs=argparse.REMAINDER)
    return parser.parse_args()


def _up(stack: Stack, _: argparse.Namespace) -> int:
    stack = control.up(stack)
    print(f"\n{_where(stack)}")
    return 0


def _down(stack: Stack, _: argparse.Namespace) -> int:
    control.down(stack)
    return 0


def _status(stack: Stack, _: argparse.Namespace) -> int:
    states = supervisor.states(stack)
    if not states:
        left = len(processes.of_stack(stack))
        dead = f"The supervisor is gone, {left} of its processes are left: `make down` ends them." if left else ""
        print(dead or "The stack does not run. `make up` starts it, `make demo` runs the story.")
        return 3
    well = control.health(stack)
    print(f"{'component':<15}{'process':<10}{'health':<12}since")
    for name, info in states.items():
        print(f"{name:<15}{info['statename'].lower():<10}{_HEALTH[well.get(name)]:<12}{info['description']}")
    print(f"\n{_where(stack)}")
    return 0 if all(well.values()) else 1


_HEALTH = {True: "well", False: "not well", None: "-"}  # None: a program on demand, which has no health


def _where(stack: Stack) -> str:
    users = passwords(stack)
    return (
        f"Airflow   {stack.url}   user admin, password {users['admin']}"
        f"\n          (also operator / {users['operator']} and viewer / {users['viewer']})"
        f"\nMLflow    {stack.mlflow_url}"
        f"\nService   {stack.service_url}/predict   (/openapi.json, /readyz, /metrics)"
        f"\nEvidently {stack.evidently_url}   (dashboards of what was predicted)"
        f"\nlogs      {stack.logs}"
    )


def _logs(stack: Stack, arguments: argparse.Namespace) -> int:
    known = [*supervisor.programs(stack), "supervisord"]
    names = arguments.names or known
    if unknown := [name for name in names if name not in known]:
        raise control.StackError(f"There is no component {unknown[0]!r}; there are {', '.join(known)}.")
    files = [str(path) for name in names if (path := stack.logs / f"{name}.log").exists()]
    if not files:
        raise control.StackError(f"There are no logs in {stack.logs}: the stack was never started.")
    follow = [] if arguments.no_follow else ["-F"]
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", "30", *follow, *files])  # noqa: S606


def _serve(stack: Stack, _: argparse.Namespace) -> int:
    """The service alone, in the foreground: it follows this installation's ledger, whatever else runs."""
    port = stack.service_port
    if who := processes.holder(port):
        raise control.StackError(
            f"Port {port} is taken by {who}. `make up` and `make demo` start the service too: then it serves already.\n"
            f"Another one beside it: RATCHET_SERVICE_PORT={control.free_port(port)} make serve"
        )
    ledger.connect(stack.settings.ledger_url).dispose()
    other = running_ports(stack)
    if other.service_port != port and processes.holder(other.service_port):
        print(f"The stack's own service answers at {other.service_url}; this is another one beside it.")
    print(f"POST {stack.service_url}/predict   (also /openapi.json, /readyz, /metrics; Ctrl-C ends it)", flush=True)
    env = environment(stack)
    env.pop("RATCHET_STACK")
    os.execvpe(sys.executable, supervisor.programs(stack)["service"], env)  # noqa: S606


def _exec(stack: Stack, arguments: argparse.Namespace) -> int:
    line = [part for part in arguments.line if part != "--"]
    if not line:
        raise control.StackError("Say what to run, for example: make airflow ARGS='dags list'")
    sys.stdout.flush()
    env = environment(stack)
    env.pop("RATCHET_STACK")  # a person's command: `make down` is not to end it
    os.environ["PATH"] = env["PATH"]
    os.execvpe(line[0], line, env)  # noqa: S606


_COMMANDS = {"up": _up, "down": _down, "status": _status, "logs": _logs, "serve": _serve, "exec": _exec}

if __name__ == "__main__":
    sys.exit(main())
