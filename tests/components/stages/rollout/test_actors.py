"""Who moves versions by a command, and from where."""

import getpass
import socket

from components.stages.rollout.actors import Actor, find_command_actor


def test_the_user_of_a_command_has_the_clients_address_if_it_came_by_ssh(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    actor = find_command_actor()
    assert actor == Actor(f"{getpass.getuser()}@{socket.gethostname()}", "command line")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.7 50022 10.0.0.1 22")
    assert find_command_actor().origin == "command line over SSH from 10.0.0.7"
    assert len(Actor("ada", "x" * 900).origin) == 200


def test_a_user_without_a_name_is_recorded_as_such(monkeypatch):
    def fail():
        raise KeyError("uid 10001")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert find_command_actor().name == f"unknown@{socket.gethostname()}"
