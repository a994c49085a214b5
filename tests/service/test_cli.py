"""The command line: one line for what is wrong, exactly one JSON object, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from routing.cli import main
from routing.identity import Identity

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-W", "error::ResourceWarning"]
COMMAND = [*PYTHON, "-m", "routing"]
PATIENCE_S = 30

FIELDS = [
    "ok",
    "nodes",
    "group_connected",
    "formed_s",
    "connections",
    "attempts",
    "messages",
    "killed",
    "during_kills",
    "healed_s",
    "rejoined",
    "rejoined_s",
    "leaked_sockets",
    "leaked_tasks",
]

FATES = ["sent", "delivered", "failed", "twice", "lost", "died_with", "orphaned"]


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command under way; whatever happens, it is over afterwards."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Return the next line of output that holds `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    pytest.fail(f"{text!r} was never printed")


def told(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE_S)


# -- what bad input gets


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nope"], "No such option"),
        (["nope"], "No such command"),
        (["network", "--nope"], "No such option"),
        (["network", "--nodes", "0"], "--nodes"),
        (["network", "--nodes", "many"], "--nodes"),
        (["network", "--timeout", "0"], "--timeout"),
        (["network", "--nodes", "3", "--kill", "3"], "--kill 3 must be less than --nodes 3"),
        (["network", "--nodes", "1", "--kill", "1"], "--kill 1 must be less than --nodes 1"),
        (["network", "--nodes", "1", "--clients", "1"], "--clients"),
        (["node", "--listen", "nowhere"], "no port"),
        (["node", "--listen", "localhost:1"], "host names are not resolved"),
        (["node", "--contact", "127.0.0.1:0"], "port 0"),
        (["node", "--listen", "192.0.2.1:5483"], "cannot assign requested address"),
        (["node", "--network", ""], "network"),
        (["client"], "--contact"),
        (["client", "--contact", "nowhere"], "no port"),
        (["client", "--listen", "127.0.0.1:0"], "No such option"),
        (["simulate", "form", "--nodes", "0"], "--nodes"),
    ],
)
def test_wrong_argument_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err
    assert len(captured.err.splitlines()) == 1


def test_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["node", "--listen", endpoint]) == 2
    captured = capsys.readouterr()
    assert endpoint in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["node"], ["client", "--contact", "127.0.0.1:1"]])
def test_unreadable_identity_is_one_line(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "identity"
    path.write_text("rubbish")
    path.chmod(0o600)
    assert main([*command, "--identity", str(path)]) == 2
    captured = capsys.readouterr()
    assert str(path) in captured.err
    assert len(captured.err.splitlines()) == 1


def test_help_is_shown_for_a_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err
    assert main(["network", "--help"]) == 0
    assert "--processes" in capsys.readouterr().out


def test_missing_extra_is_one_line() -> None:
    program = (
        "import runpy, sys; sys.modules['click'] = None; "
        "runpy.run_module('routing', run_name='__main__')"
    )
    done = finished([*PYTHON, "-c", program])
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "python -m routing: the command line needs click; install it with: "
        "pip install 'routing[cli]'"
    ]


# -- network


def test_json_is_one_object_with_exactly_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "--nodes", "3", "--kill", "1", "--clients", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 1
    summary = json.loads(captured.out)
    assert list(summary) == FIELDS
    assert list(summary["attempts"]) == ["started", "consolidated", "failed"]
    assert list(summary["messages"]) == ["sent", "delivered"]
    assert summary["ok"] is True
    assert (summary["nodes"], summary["killed"], summary["rejoined"]) == (3, 1, 1)
    fates = summary["during_kills"]
    assert list(fates) == FATES
    assert fates["sent"] + fates["orphaned"] == 10_000 * 9 // 1_600
    assert fates["lost"] == fates["twice"] == 0


def test_messages_during_the_kills_are_as_many_as_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--nodes", "9", "--kill", "2", "--messages", "400", "--json"]
    assert main(["network", *options]) == 0
    fates = json.loads(capsys.readouterr().out)["during_kills"]
    assert fates["sent"] + fates["orphaned"] == 400
    assert fates["delivered"] + fates["failed"] + fates["died_with"] == fates["sent"]


def test_nothing_killed_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "--nodes", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    nulls = ("during_kills", "healed_s", "rejoined", "rejoined_s")
    assert [summary[name] for name in nulls] == [None] * 4


def test_all_but_one_killed_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that is left knows nobody who answers; whoever comes back founds anew with it."""
    assert main(["network", "--nodes", "3", "--kill", "2", "--timeout", "40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rejoined"] == 2


def test_network_not_whole_in_time_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "--nodes", "9", "--timeout", "0.000001", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] is False
    assert "not whole" in captured.err


def test_people_get_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", "--nodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 nodes" in out
    assert out.splitlines()[-1] == "ok"


@pytest.mark.parametrize(("nodes", "code"), [(6, 0), (12, 2)])
def test_few_descriptors_are_enough_or_told_in_one_line(nodes: int, code: int) -> None:
    shell = 'ulimit -n 256 && exec "$@"'
    command = ["sh", "-c", shell, "sh", *COMMAND, "network", "--nodes", str(nodes), "--json"]
    done = finished(command)
    assert done.returncode == code
    if code == 0:
        assert json.loads(done.stdout)["ok"] is True
    else:
        assert len(done.stderr.splitlines()) == 1
        assert "256" in done.stderr


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [[], ["--processes"]])
def test_signal_during_formation_ends_everything(
    number: signal.Signals, options: list[str]
) -> None:
    with running([*COMMAND, "network", "--nodes", "30", *options]) as process:
        line_with(process, "starting")
        children = children_of(process.pid) if options else []
        _, errors = told(process, number)
        assert process.returncode == (130 if number == signal.SIGINT else 143)
        assert len(errors.splitlines()) == 1
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []
    assert bool(children) == bool(options)


def test_children_end_when_their_parent_is_killed() -> None:
    with running([*COMMAND, "network", "--nodes", "4", "--processes"]) as process:
        line_with(process, "starting")
        children = children_of(process.pid)
        watched = [os.pidfd_open(child) for child in children]
        process.kill()
        process.wait(PATIENCE_S)
        try:
            for descriptor in watched:
                # Readable once the process is over.
                os.set_blocking(descriptor, True)
                assert _ended(descriptor)
        finally:
            for descriptor in watched:
                os.close(descriptor)
        assert children


def _ended(descriptor: int) -> bool:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(PATIENCE_S * 1_000))


# -- node and client


def test_node_tells_apart_where_it_listens_and_what_it_advertises() -> None:
    with running([*COMMAND, "node", "--advertise", "127.0.0.1:9999"]) as node:
        assert line_with(node, "advertising").split()[-1] == "127.0.0.1:9999"
        assert line_with(node, "listening on").split()[-1] != "127.0.0.1:9999"


def test_node_and_client_tell_what_happens_and_end_on_signals(tmp_path: Path) -> None:
    identity, book = tmp_path / "identity", tmp_path / "book"
    files = ["--identity", str(identity), "--book", str(book)]
    with running([*COMMAND, "node", "--first", *files]) as first:
        endpoint = line_with(first, "listening on").split()[-1]
        line_with(first, "founded a network as")
        with running([*COMMAND, "node", "--contact", endpoint]) as second:
            line_with(second, "peer")
            line_with(second, "state CONNECTED")
            line_with(first, "state CONNECTED")
            with running([*COMMAND, "client", "--contact", endpoint]) as client:
                line_with(client, "proxy")
                line_with(client, "state BOOTSTRAPPED")
                out, errors = told(client, signal.SIGINT)
                assert (client.returncode, errors) == (0, "")
                assert out.splitlines()[-1] == "stopped"
            out, errors = told(first, signal.SIGTERM)
            assert (first.returncode, errors) == (0, "")
            assert out.splitlines()[-1] == "stopped"
            line_with(second, "down: STOPPING")
            line_with(second, "state DISCONNECTED")
            told(second, signal.SIGTERM)
            assert second.returncode == 0
    assert Identity.load(identity).certificate is not None
    assert book.exists()


def test_corrupt_book_is_one_line_and_the_node_runs(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.write_text("rubbish")
    with running([*COMMAND, "node", "--first", "--book", str(book)]) as node:
        line_with(node, "founded")
        _, errors = told(node, signal.SIGINT)
    assert node.returncode == 0
    assert len(errors.splitlines()) == 1
    assert "corrupt-1" in errors


def test_simulate_form_reports(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "form", "--nodes", "3", "--kill", "1", "--seed", "1", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
