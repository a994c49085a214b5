"""A wrong configuration is one clear line that names value and cure; a right one is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from routing.config import Config
from routing.errors import ConfigError, StartError
from routing.identity import Identity
from routing.limits import Limits
from routing.node import Client, Node

__all__: list[str] = []


async def discover() -> list[str]:
    return []


def test_endpoints_are_kept_as_tuples_in_their_one_spelling() -> None:
    config = Config(listen=["127.0.0.1:0", "127.0.0.1:0"], contacts=["[::0001]:5483"])
    assert config.listen == ("127.0.0.1:0", "127.0.0.1:0")
    assert config.contacts == ("[::1]:5483",)


def test_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().first = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"identity": "a file"},
        {"identity": Path("a file"), "book": Path("another")},
        {"identity": Identity.from_seed(bytes(32))},
        {"advertise": ["192.0.2.1:5483"], "listen": ["0.0.0.0:5483"]},
        {"busy_poll_us": 1_000},
        {"busy_poll_us": None},
        {"discover": discover, "limits": Limits.local(), "network": "n" * 255},
    ],
)
def test_right_value_is_taken(right: dict[str, Any]) -> None:
    config = Config(**right)
    assert {
        name: getattr(config, name) for name in right if name not in ("listen", "advertise")
    } == {name: value for name, value in right.items() if name not in ("listen", "advertise")}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"listen": "127.0.0.1:0"}, "must be a list of endpoints"),
        ({"listen": 5483}, "must be a list of endpoints"),
        ({"listen": [5483]}, "must be text"),
        ({"listen": ["localhost:5483"]}, "host names are not resolved"),
        ({"listen": ["127.0.0.1:1"] * 2}, "twice"),
        ({"listen": [f"127.0.0.1:{port}" for port in range(1, 10)]}, "at most 8"),
        ({"contacts": ["127.0.0.1:0"]}, "port 0"),
        ({"contacts": ["127.0.0.1"]}, "no port"),
        ({"advertise": ["127.0.0.1:1"]}, "listen is empty"),
        ({"first": "yes"}, "True or False"),
        ({"network": ""}, "1 to 255 bytes"),
        ({"network": "n" * 256}, "1 to 255 bytes"),
        ({"network": None}, "1 to 255 bytes"),
        ({"identity": ""}, "path of a file"),
        ({"identity": "fresh"}, "not offered"),
        ({"identity": b"key"}, "path of a file"),
        ({"book": 3}, "path of a file"),
        ({"limits": {"inbox_bytes": 1}}, "must be Limits"),
        ({"discover": ["127.0.0.1:1"]}, "async function"),
        ({"busy_poll_us": -1}, "busy_poll_us=-1 must be 0 to 1000 microseconds"),
        ({"busy_poll_us": 1_001}, "0 to 1000"),
        ({"busy_poll_us": 0.5}, "0 to 1000"),
        ({"busy_poll_us": True}, "0 to 1000"),
    ],
)
def test_wrong_value_is_one_line(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**wrong)
    line = str(caught.value)
    assert text in line
    assert "\n" not in line
    assert line.startswith(f"config {next(iter(wrong))}")
    assert isinstance(caught.value, StartError)


def test_node_must_listen() -> None:
    with pytest.raises(ConfigError, match="must listen"):
        Node(Config())


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(listen=["127.0.0.1:0"], contacts=["127.0.0.1:1"]), "does not listen"),
        (Config(first=True, contacts=["127.0.0.1:1"]), "founds no network"),
        (Config(), "must be told of a node"),
    ],
)
def test_client_refuses_the_configuration_of_a_node(config: Config, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Client(config)


def test_table_that_is_too_small_for_a_network_is_refused_with_the_bound() -> None:
    with pytest.raises(ConfigError, match=r"limits.table_max=31 must be at least 32"):
        Config(limits=Limits().but(table_max=31))
    assert Config(limits=Limits().but(table_max=32)).limits.table_max == 32
