"""The command `hatnet docs`."""

import socket

import pytest


def test_a_port_that_is_taken_costs_no_build(hatnet_command):
    pytest.importorskip("mkdocs", reason="no extra docs")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = hatnet_command("docs", "--port", port)
    assert status == 2
    assert f"cannot listen on port {port}" in err
    assert "--port" in err
