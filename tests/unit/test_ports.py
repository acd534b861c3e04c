"""Ports are given out of the range, free, and never twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from longshore.drivers.base import DriverError
from longshore.ports import PortRange, is_free


@pytest.fixture
def held() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Quiet(PortRange):
    """A range on which nobody but the test listens."""

    busy: frozenset[int] = frozenset()

    def is_free(self, port: int) -> bool:
        return port not in self.busy


def test_every_port_of_the_range_is_given_once_its_ends_included() -> None:
    ports, taken = Quiet(20000, 20009), set[int]()
    for _ in range(10):
        taken.add(ports.free(taken))
    assert taken == set(range(20000, 20010))


def test_a_range_that_is_used_up_says_what_to_do() -> None:
    with pytest.raises(DriverError, match=r"No free port between 20000 and 20001: widen instance_ports"):
        Quiet(20000, 20001).free({20000, 20001})


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    ports = Quiet(20000, 20001)
    ports.busy = frozenset({20000})
    assert {ports.free(set()) for _ in range(20)} == {20001}


def test_a_port_with_a_listener_is_not_free(held: int) -> None:
    assert not is_free(held)
    assert not PortRange().is_free(held)


def test_a_port_whose_listener_has_gone_is_free_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: TIME_WAIT
        client.close()
    assert is_free(port)


def test_a_range_of_which_somebody_listens_on_the_only_port_is_used_up(held: int) -> None:
    with pytest.raises(DriverError):
        PortRange(held, held).free(set())
