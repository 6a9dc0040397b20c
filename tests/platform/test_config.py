"""The stack's environment, secrets and supervisor configuration."""

from __future__ import annotations

import configparser
import os
import stat
from pathlib import Path

import pytest

from include.files import write_json
from include.settings import ROOT, Settings
from scripts.stack import config, supervisor
from scripts.stack.config import Stack


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_private(stack: Stack) -> None:
    first = config.environment(stack)
    assert config.environment(stack) == first
    files = list((stack.home / "secrets").iterdir())
    assert {file.name for file in files} == {"jwt", "api", "fernet", "evidently", "passwords.json"}
    assert {mode(file) for file in files} == {0o600}
    assert mode(stack.home / "secrets") == 0o700


def test_secrets_are_long_enough_and_differ(stack: Stack, tmp_path: Path) -> None:
    other = Stack(Settings(home=tmp_path / "other"))
    assert len(config.secret(stack, "jwt")) >= 64
    assert config.secret(stack, "jwt") != config.secret(other, "jwt")
    users = config.passwords(stack)
    assert set(users) == {"admin", "operator", "viewer", "demo"}
    assert len(set(users.values())) == 4
    assert all(len(password) >= 12 for password in users.values())


def test_settings_of_another_airflow_are_left_out(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = config.environment(stack)
    assert found["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert found["MLFLOW_TRACKING_URI"] == stack.mlflow_url
    assert "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS" not in found
    assert "PYTHONDONTWRITEBYTECODE" not in found


def test_tasks_find_their_installation(stack: Stack) -> None:
    found = config.environment(stack)
    assert found["RATCHET_HOME"] == str(stack.home)
    assert found["RATCHET_MLFLOW_URI"] == stack.mlflow_url
    assert str(ROOT) in found["PYTHONPATH"].split(os.pathsep)


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    for name, command in supervisor.programs(stack).items():
        if "--port" in command:
            assert command[command.index("--host") + 1] == "127.0.0.1", name
        if name in ("scheduler", "triggerer"):  # their log servers would listen on every address
            assert "--skip-serve-logs" in command


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "deep" * 40])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    """A deep path is too long for a socket, a per cent sign means something to supervisord's parser."""
    stack = Stack(Settings(home=tmp_path / name))
    socket = config.socket_path(stack)
    assert len(os.fsencode(socket)) <= 100
    assert config.socket_path(stack) == socket
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(supervisor.write_config(stack))
    assert parsed["unix_http_server"]["file"].replace("%%", "%") == str(socket)
    assert parsed["unix_http_server"]["chmod"] == "0700"
    if not socket.is_relative_to(stack.home):
        assert mode(socket.parent) == 0o700
        socket.parent.rmdir()


def test_no_secret_is_in_the_configuration(stack: Stack) -> None:
    config.environment(stack)
    text = supervisor.write_config(stack).read_text()
    for file in (stack.home / "secrets").iterdir():
        assert file.read_text() not in text


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "80 80"])
@pytest.mark.parametrize("name", ["RATCHET_MLFLOW_PORT", "RATCHET_EVIDENTLY_PORT"])
def test_a_bad_port_is_named(name: str, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, port)
    with pytest.raises(config.BadPort, match=name):
        config.from_environment()


def test_later_commands_use_the_ports_of_the_start(stack: Stack) -> None:
    config.remember(stack)
    asked = Stack(stack.settings, 1, 2)
    assert config.running_ports(asked).url == stack.url
    assert config.running_ports(asked).evidently_url == stack.evidently_url


def test_ports_that_an_older_start_did_not_know_are_those_asked_for(stack: Stack) -> None:
    write_json(stack.state, {"port": stack.port})
    assert (
        config.running_ports(Stack(stack.settings, 1, 2, 3, 4)).ports
        == Stack(stack.settings, stack.port, 2, 3, 4).ports
    )


def test_a_secret_of_evidently_reaches_it_by_its_environment_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIDENTLY_SECRET", "of another")
    found = config.environment(stack)
    assert found["EVIDENTLY_SECRET"] == config.secret(stack, "evidently")
    assert found["RATCHET_EVIDENTLY_URL"] == stack.evidently_url
    assert found["EVIDENTLY_SECRET"] not in " ".join(supervisor.programs(stack)["evidently"])
