"""Requests a second of the service beside the usual ways to serve; `make bench-serving` rewrites docs/serving.md.

January through the project's own steps, online in Feast's SQLite; one model, trained on its frame. Every contender is
one worker on one core, reads its features with the project's reader, and is asked about the same real flights by a
closed loop of 16 connections in a process on the other core. They start together and are asked in turn, in an order
that turns round; medians. About 8 minutes; --quick, a smoke test, one and a half.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from bench import january, tables
from bench.serving import prepare
from bench.serving.common import BUNDLE
from bench.serving.contenders import ALL, BARE, LEAN, MLFLOW, MOUNTED, OURS, USUAL, Running, load, running
from include.files import write_text
from include.settings import ROOT, Settings
from include.times import parse

DOC = ROOT / "docs" / "serving.md"
MARK = "<!-- measured by make bench-serving -->"
SHADOW = "Ratchet, and a challenger in the shadow"
PRICE = 0.04  # dollars an hour of one core, about what clouds ask on demand
QUICK_END = "2013-01-10T05:00:00+00:00"
QUICK_FLIGHTS = 200  # few enough to be known after the short warm-up
PARITY = 1e-6


@dataclass(frozen=True)
class Row:
    """Who is asked, and how it is deployed: `challenger` is in the ledger's shadow."""

    name: str
    contender: str
    challenger: int | None = None


ROWS = (*(Row(c.name, c.name) for c in ALL), Row(SHADOW, OURS.name, 2))
Seen = dict[str, list[dict[str, Any]]]


# -- measuring -----------------------------------------------------------------------------------------------------
def measure(settings: Settings, bodies: dict[str, Path], one_round: tuple[float, float], rounds: int) -> Seen:
    """What each row's rounds gave. `one_round`: seconds of load and of warm-up before it."""
    bundle = prepare.bundles(settings)[1]["uri"]
    prepare.deploy(settings, None)
    seen: Seen = {row.name: [] for row in ROWS}
    with (
        tempfile.TemporaryDirectory(prefix="bench-serving-") as scratch,
        running(ALL, settings.home, Path(scratch), bundle) as all_running,
    ):
        _compare(all_running, bodies)
        generator = _pin(all_running)
        for number in range(rounds):
            for row in ROWS if number % 2 == 0 else reversed(ROWS):
                one = all_running[row.contender]
                if one.contender is OURS:
                    _follow(one, prepare.deploy(settings, row.challenger))
                found = load(one, bodies[one.contender.envelope], *one_round, generator)
                found |= {"dropped": _dropped(one)} if one.contender is OURS else {}
                seen[row.name].append(found)
                print(json.dumps({"row": row.name, **found}), flush=True)
                _forget_log(settings)
    return seen


def _pin(all_running: dict[str, Running]) -> int | None:
    """Put all contenders on one core; returns the load generator's, None where cores cannot be chosen."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    for one in all_running.values():
        one.pin(cores[0])
    return cores[-1]


def _compare(all_running: dict[str, Running], bodies: dict[str, Path]) -> None:
    """Raises RuntimeError unless the same trees answer the same, and the tutorial's pipeline in both of its places."""
    answers = {
        name: np.array(
            [one.probability(body) for body in bodies[one.contender.envelope].read_bytes().splitlines()[:40]]
        )
        for name, one in all_running.items()
    }
    pairs = [*((name, OURS.name) for name in (LEAN.name, BARE.name, MOUNTED.name)), (MLFLOW.name, USUAL.name)]
    for name, other in pairs:
        if (worst := np.abs(answers[name] - answers[other]).max()) > PARITY:
            raise RuntimeError(f"{name} and {other} differ by {worst:.1e}: they do not serve the same model")


def _follow(one: Running, generation: int) -> None:
    one.wait(lambda: json.loads(one.ask("/readyz")[1])["generation"] == generation, 10)


def _dropped(one: Running) -> int:
    """Predictions and shadow scores that the log has dropped so far."""
    names = ("ratchet_log_dropped_total ", "ratchet_log_shadow_dropped_total ")
    lines = one.ask("/metrics")[1].decode().splitlines()
    return round(sum(float(line.split()[-1]) for line in lines if line.startswith(names)))


def _forget_log(settings: Settings) -> None:
    """Closed segments, which a collector would have taken."""
    for file in settings.predictions.glob("*/*.jsonl"):
        file.unlink()


def layers(settings: Settings, bodies: Path, end: str) -> dict[str, float]:
    """Microseconds of CPU by layer, from bench/serving/layers.py."""
    command = [sys.executable, "-m", "bench.serving.layers", str(bodies), str((parse(end) + prepare.AFTER).timestamp())]
    own = {"RATCHET_HOME": str(settings.home), BUNDLE: prepare.bundles(settings)[1]["uri"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env={**os.environ, **own}, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300)
    found: dict[str, float] = json.loads(done.stdout)
    return found


# -- telling -------------------------------------------------------------------------------------------------------
def rate(found: dict[str, Any]) -> float:
    return float(found["requests"] / found["seconds"])


def cpu(found: dict[str, Any]) -> float:
    """Microseconds a request."""
    return float(found["cpu"] / max(found["requests"], 1) * 1e6)


def times(seen: Seen, name: str, other: str, per_cpu: bool = False) -> float:
    """How many times as many requests a second (or a second of CPU) as another: the median over the rounds."""
    pairs = zip(seen[name], seen[other], strict=True)
    return median(cpu(b) / cpu(a) if per_cpu else rate(a) / rate(b) for a, b in pairs)


def spread(rounds: list[dict[str, Any]]) -> float:
    """p99 as a multiple of p50."""
    return median(f["p99"] / f["p50"] for f in rounds)


def report(seen: Seen, spent: dict[str, float], price: float) -> str:
    """What docs/serving.md shows below its mark."""
    shown = []
    for name, rounds in seen.items():
        p50, p99 = (median(f[of] for f in rounds) for of in ("p50", "p99"))
        errors = sum(sum(f["errors"].values()) for f in rounds)
        micro = median(cpu(f) for f in rounds)
        ratios = [f"{times(seen, name, other):.2f}" for other in (USUAL.name, MLFLOW.name, MOUNTED.name)]
        cells = [f"{median(map(rate, rounds)):,.0f}", f"{p50:.2f}", f"{p99:.1f}", f"{spread(rounds):.1f}", str(errors)]
        shown.append([name, *cells, f"{micro:,.0f}", *ratios, f"{micro * price / 3600 / 1000:.7f}"])
    head = ["one worker, one core", "requests/s", "p50 ms", "p99 ms", "p99/p50", "errors", "CPU µs a request"]
    head += ["x tutorial", "x MLflow", "x mounted", "$ per 1,000 requests"]
    ours = seen[OURS.name] + seen[SHADOW]
    served = median(cpu(f) for f in seen[OURS.name])
    parts = [
        _machine(seen, price),
        tables.table(head, shown),
        targets(seen),
        f"Dropped from the log: {max(f['dropped'] for f in ours)} of {sum(f['requests'] for f in ours):,} answers.\n",
        "### Where a request's microseconds go\n",
        _layers(spent, served),
    ]
    return "\n".join(parts)


def targets(seen: Seen) -> str:
    """Each target and whether it was met, by wall time and by CPU."""
    lines = []
    for other, least, aim in ((USUAL.name, 20, 40), (MLFLOW.name, 20, 40), (MOUNTED.name, 0.7, 0.7)):
        by_wall, by_cpu = (times(seen, OURS.name, other, how) for how in (False, True))
        word = "met" if by_wall >= least else "missed"
        word += "" if aim == least else ", the aim too" if by_wall >= aim else f", the aim of {aim:g} not"
        lines.append([f"≥ {least:g} times *{other}*", f"{by_wall:.2f}", f"{by_cpu:.2f}", word])
    wide = spread(seen[OURS.name])
    lines.append(["p99 within 10 times p50", f"{wide:.1f}", "", "met" if wide <= 10 else "missed"])
    errors = sum(sum(f["errors"].values()) for rounds in seen.values() for f in rounds)
    lines.append(["no errors, of anybody", str(errors), "", "met" if not errors else "missed"])
    lean = times(seen, OURS.name, LEAN.name)
    lines.append([f"(*{LEAN.name}*)", f"{lean:.2f}", f"{times(seen, OURS.name, LEAN.name, True):.2f}", "no target"])
    return tables.table(["target", "measured", "per second of CPU", ""], lines)


def _machine(seen: Seen, price: float) -> str:
    others = median(f["others"] for rounds in seen.values() for f in rounds)
    busiest = max(median(f["busy"] for f in rounds) for rounds in seen.values())
    rounds = len(seen[OURS.name])
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return (
        f"{name}, {psutil.cpu_count()} cores, Python {platform.python_version()}; {rounds} rounds, medians, ratios "
        f"round by round. Other work on the machine took {others:.1f} cores meanwhile (median), the load generator at "
        f"most {busiest:.2f} of one. A core-hour at ${price:g}, paid for CPU used.\n"
    )


def _layers(spent: dict[str, float], served: float) -> str:
    inner = sum(spent[name] for name in ("plan", "read", "model", "count an answer"))
    outer = sum(spent[name] for name in ("decode", "answer", "encode", "count a request"))
    put = spent["answer, logged"] - spent["answer"]
    rest = served - spent["app"] - put - spent["written"]
    rows = [
        ("decode", spent["decode"], "body to a checked struct"),
        ("plan", spent["plan"], "the seven features of the schedule"),
        ("read", spent["read"], "the other 29, of twelve views, kept from an earlier read"),
        ("model", spent["model"], "200 trees in ONNX Runtime, one flight after another"),
        ("answer", spent["answer"] - inner, "ages judged, version chosen, probability checked, answer made"),
        ("metrics", spent["count an answer"] + spent["count a request"], "latency, answer and request counted"),
        ("encode", spent["encode"], "answer to JSON"),
        ("application", spent["app"] - outer, "body awaited under a time limit, headers, messages"),
        ("log: put", put, "the prediction handed over"),
        ("log: write", spent["written"], "its own thread: JSON lines, fsync"),
        ("rest", rest, "HTTP, the event loop, the kernel's sockets, threads that take turns"),
        ("**all**", served, "CPU of the service's processes a request, under load (above)"),
    ]
    text = tables.table(["layer", "µs of CPU", ""], [[name, f"{micro:.1f}", said] for name, micro, said in rows])
    miss = spent["read from the store"]
    return text + f"\nRead from the store, because it was written to, a flight's features take {miss:.0f} µs.\n"


# -- all of it -----------------------------------------------------------------------------------------------------
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="nine days of history, one short round, nothing written")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=6.0, help="of load in a round, after the warm-up")
    parser.add_argument("--price", type=float, default=PRICE, help="dollars of a core-hour")
    parser.add_argument("--home", type=Path, help="an empty folder to make, or one that this bench made")
    parser.add_argument("--out", type=Path, help=f"the document whose end is rewritten ({DOC.relative_to(ROOT)})")
    asked = parser.parse_args(arguments)
    end = QUICK_END if asked.quick else january.END
    one_round, rounds = ((1.0, 0.5), 1) if asked.quick else ((asked.seconds, 1.5), asked.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as scratch:
        settings = prepare.home((asked.home or Path(scratch) / "home").resolve(), end)
        prepare.tell_time(settings, end)
        flights = prepare.flights(settings, end)[: QUICK_FLIGHTS if asked.quick else None]
        bodies = prepare.write_bodies(flights, settings.home / "bench")
        print(f"{len(flights)} flights of the hours after {end}", flush=True)
        seen = measure(settings, bodies, one_round, rounds)
        text = report(seen, layers(settings, bodies["flight"], end), asked.price)
    print(text)
    out = asked.out or (None if asked.quick else DOC)
    if out is not None:
        before = out.read_text(encoding="utf-8").partition(MARK)[0] if out.exists() else ""
        write_text(out, f"{before}{MARK}\n\n{text}")


if __name__ == "__main__":
    main()
