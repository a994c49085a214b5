"""Two processes, one connection, everybody in turn: `python -m bench.loopback`.

A server and a client, each on a core of its own, move messages over loopback; ours are two nodes
with everything they do for their users. Streams are counted at the receiver. Each figure is the
median of the runs, in which the contestants take turns; what may be compared is the ratios of one
call. A peer that is not installed, or that fails, is said to be so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from bench import loopback_outside, loopback_peers, loopback_signed
from bench.ends import load

__all__ = ["FLOOR", "PINGPONG", "RESULTS", "STREAM", "main", "over_connections"]

FLOOR = "C, plaintext"
SIZES = (64, 1_024, 65_536, 1_047_552)
ROUNDS = 3_000
WIDE = 64
WIDE_SIZES = (64, 65_536)
WIDE_SHARE = 20
"""Each of the many connections has this part of the rounds that one has alone."""

STREAMED = ("routing, one by one", "py-libp2p, batched")
"""These differ from another contestant in how they stream, and in nothing else."""

ASKED = ("routing, sleeping",)
"""These differ from another contestant in their round trips, and in nothing else."""

STREAM, PINGPONG = "stream", "pingpong"
TIMEOUT_S = 60
REASON_MAX = 120
SOURCE = Path(__file__).with_name("loopback.c")
RESULTS = Path(__file__).with_name("results") / "loopback.json"


class Failed(Exception):
    """A contestant could not be measured, with its last words."""


def floor_program(folder: Path) -> Path | None:
    """Build the C program; None without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    built = folder / "loopback"
    subprocess.run([compiler, "-O2", "-o", str(built), str(SOURCE)], check=True)
    return built


def pinned(command: list[str], core: int) -> list[str]:
    """Run it on one core, where there are two."""
    taskset = shutil.which("taskset")
    if taskset is None or (os.cpu_count() or 1) < 2:
        return command
    return [taskset, "-c", str(core), *command]


def play(
    command: list[str], role: str, size: int, amount: float, connections: int = 1
) -> dict[str, Any]:
    """Run one server and one client; return what they measured.

    Raises:
        Failed: one of them did not do what it should, in its own words.
    """
    words = [role, str(size), str(amount), str(connections)]
    with tempfile.TemporaryFile("w+") as said:
        try:
            return _played(command, words, said)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"not done within {error.timeout:.0f} s") from error
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()]
            raise Failed(lines[-1][:REASON_MAX] if lines else repr(error)) from error


def _played(command: list[str], words: list[str], said: IO[str]) -> dict[str, Any]:
    role, size, amount, connections = words
    server = subprocess.Popen(
        pinned([*command, "server", connections, role], 0),
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )
    # A server that never says what it should must not keep us for ever.
    watch = threading.Timer(2 * TIMEOUT_S, server.kill)
    watch.start()
    with server:
        try:
            assert server.stdout is not None
            port = str(json.loads(server.stdout.readline() or "{}")["port"])
            client = subprocess.run(
                pinned([*command, role, port, size, amount, connections], 1),
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                timeout=TIMEOUT_S,
                check=True,
            )
            if role == PINGPONG:
                return dict(json.loads(client.stdout))
            return {**json.loads(server.stdout.read()), **json.loads(client.stdout or "{}")}
        except (KeyError, ValueError) as error:
            if watch.is_alive():
                raise
            raise subprocess.TimeoutExpired(command, watch.interval) from error
        finally:
            watch.cancel()
            server.kill()


def rate_of(figures: dict[str, Any]) -> float:
    return float(figures["count"] / figures["seconds"]) if figures["seconds"] else 0.0


def in_turn(
    contestants: dict[str, list[str]],
    role: str,
    size: int,
    amount: float,
    runs: int,
    connections: int = 1,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Return contestant -> what each run measured, and contestant -> why it failed."""
    found: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for _ in range(runs):
        for name, command in contestants.items():
            if name in failed:
                continue
            try:
                found.setdefault(name, []).append(play(command, role, size, amount, connections))
            except Failed as error:
                failed[name] = str(error)
                found.pop(name, None)
    return found, failed


def stream_rows(
    contestants: dict[str, list[str]],
    sizes: list[int],
    seconds: float,
    runs: int,
    connections: int = 1,
) -> list[dict[str, Any]]:
    """Measure streams of each size, over so many connections in turn."""
    contestants = {name: each for name, each in contestants.items() if name not in ASKED}
    rows = []
    for size in sizes:
        found, failed = in_turn(contestants, STREAM, size, seconds, runs, connections)
        rates = {name: statistics.median(map(rate_of, each)) for name, each in found.items()}
        about = {"role": STREAM, "size": size, "connections": connections}
        rows.append({**about, "rates": rates, "failed": failed})
        print(f"\nstream, {size:,} bytes, {over_connections(connections)}: messages/s, MB/s")
        for name, rate in sorted(rates.items(), key=lambda each: -each[1]):
            ratios = "  ".join(
                f"{rate / rates[other]:>8.2f} x {other}"
                for other in (FLOOR, "pyzmq, CURVE")
                if rates.get(other)
            )
            print(f"    {name:<22} {rate:>13,.0f} {rate * size / 1e6:>9,.1f}  {ratios}")
        _say_failed(failed)
    return rows


def pingpong_row(
    contestants: dict[str, list[str]], rounds: int, runs: int, connections: int
) -> dict[str, Any]:
    """Measure the round trip of 64 bytes, one under way on each connection."""
    contestants = {name: each for name, each in contestants.items() if name not in STREAMED}
    found, failed = in_turn(contestants, PINGPONG, 64, rounds, runs, connections)
    times = {
        name: {key: statistics.median(each[key] for each in runs_) for key in runs_[0]}
        for name, runs_ in found.items()
    }
    over = over_connections(connections)
    print(f"\nround trips of 64 bytes, {over}: microseconds, p50 and p99; a second")
    for name, each in sorted(times.items(), key=lambda each: each[1]["p50_us"]):
        ratio = ""
        if FLOOR in times:
            ratio = f"{each['p50_us'] / times[FLOOR]['p50_us']:>8.2f} x {FLOOR}"
        print(
            f"    {name:<22} {each['p50_us']:>10.1f} {each['p99_us']:>10.1f}"
            f" {each['per_second']:>10,.0f}  {ratio}"
        )
    _say_failed(failed)
    return {
        "role": PINGPONG,
        "size": 64,
        "connections": connections,
        "times": times,
        "failed": failed,
    }


def signed_row(size: int, seconds: float, runs: int) -> dict[str, Any]:
    """Measure signed messages, as a share of what the slower of signing and verifying allows."""
    contestants = commands("bench.loopback_signed", loopback_signed.NAMES, sys.executable)
    found, failed = in_turn(contestants, STREAM, size, seconds, runs)
    rates: dict[str, dict[str, float]] = {}
    print(f"\nsigned and routed, one hop, {size} bytes: messages/s; shares of min(sign, verify)")
    for name, each in found.items():
        for one in each:
            possible = min(one["sign_per_s"], one["verify_per_s"])
            busier = max(one["sender_cpu_us"], one["receiver_cpu_us"])
            one["rate"] = rate_of(one)
            one["share"] = one["rate"] / possible
            one["share_by_cpu"] = 1e6 / busier / possible
        middle = rates[name] = {key: statistics.median(one[key] for one in each) for key in each[0]}
        print(
            f"    {name:<22} {middle['rate']:>13,.0f} {middle['share']:>8.2f} of"
            f" {middle['sign_per_s']:,.0f}, {middle['verify_per_s']:,.0f};"
            f" {middle['share_by_cpu']:.2f} by the busier end's CPU"
        )
    _say_failed(failed)
    return {"role": "signed", "size": size, "rates": rates, "failed": failed}


def over_connections(connections: int) -> str:
    """Return it in words."""
    return "one connection" if connections == 1 else f"{connections} connections at once"


def commands(module: str, names: Iterable[str], python: str) -> dict[str, list[str]]:
    return {name: [python, "-m", module, name] for name in names}


def _say_failed(failed: dict[str, str]) -> None:
    for name, reason in failed.items():
        print(f"    {name:<22} not measured: {reason}")


def main(arguments: list[str]) -> int:
    """Measure, print, and write as asked; 1 if ours could not be measured."""
    parser = argparse.ArgumentParser(prog="bench.loopback", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each stream")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trips of one connection")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument(
        "--peers", default=sys.executable, help="a Python that has what bench/peers.txt names"
    )
    parser.add_argument("--only", nargs="+", help="contestants, by name")
    parser.add_argument("--json", type=Path, help="write what was measured there")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} of the results")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        contestants: dict[str, list[str]] = {}
        program = floor_program(Path(folder))
        if program is not None:
            contestants[FLOOR] = [str(program)]
        contestants |= commands("bench.loopback_peers", loopback_peers.NAMES, sys.executable)
        contestants |= commands("bench.loopback_outside", loopback_outside.NAMES, asked.peers)
        if asked.only:
            contestants = {name: each for name, each in contestants.items() if name in asked.only}
        print(f"Python {platform.python_version()}, {platform.machine()}, {asked.runs} runs each")
        before = load()
        rows = stream_rows(contestants, asked.sizes, asked.seconds, asked.runs)
        wide = [size for size in asked.sizes if size in WIDE_SIZES]
        rows += stream_rows(contestants, wide, asked.seconds, asked.runs, WIDE)
        rows.append(pingpong_row(contestants, asked.rounds, asked.runs, 1))
        rounds = max(1, asked.rounds // WIDE_SHARE)
        rows.append(pingpong_row(contestants, rounds, asked.runs, WIDE))
        rows.append(signed_row(64, asked.seconds, asked.runs))
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "runs": asked.runs,
        "seconds": asked.seconds,
        "load": {"before": before, "after": load()},
        "rows": rows,
    }
    ours = [
        f"{row['role']}, {name}: {why}"
        for row in rows
        for name, why in row["failed"].items()
        if name.startswith("routing")
    ]
    for each in ours:
        print(f"bench.loopback: ours was not measured: {each}", file=sys.stderr)
    for path in [asked.json] * bool(asked.json) + [RESULTS] * asked.write:
        path.write_text(json.dumps(rounded(found), indent=1) + "\n", encoding="utf-8")
    return 1 if ours else 0


def rounded(found: Any) -> Any:
    """Return the same with as many digits as say something."""
    if isinstance(found, dict):
        return {name: rounded(each) for name, each in found.items()}
    if isinstance(found, list):
        return [rounded(each) for each in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
