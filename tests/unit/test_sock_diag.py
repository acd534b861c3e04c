"""What the kernel says of connections by netlink is what its tables say."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from longshore import connections, sock_diag
from longshore.connections import PROC, connected, connections_to
from longshore.routers.base import Target
from longshore.sock_diag import Connection, established


def told() -> bool:
    try:
        established()
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not told(), reason="this kernel does not tell of connections by netlink")


class Pair:
    """A client, who listens, and who answers it."""

    def __init__(self, stack: ExitStack, listens_on: str, asks: str) -> None:
        family = socket.AF_INET6 if ":" in listens_on else socket.AF_INET
        both = family == socket.AF_INET6 and listens_on == "::"
        listener = stack.enter_context(socket.create_server((listens_on, 0), family=family, dualstack_ipv6=both))
        self.port: int = listener.getsockname()[1]
        self.client = stack.enter_context(socket.create_connection((asks, self.port)))
        self.server = stack.enter_context(listener.accept()[0])

    @property
    def client_port(self) -> int:
        return int(self.client.getsockname()[1])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("listens_on", "asks", "packed"),
    [
        ("127.0.0.1", "127.0.0.1", socket.inet_aton("127.0.0.1")),
        ("::1", "::1", socket.inet_pton(socket.AF_INET6, "::1")),
        ("::", "127.0.0.1", socket.inet_aton("127.0.0.1")),
    ],
)
def test_both_ends_of_a_connection_are_told_of(stack: ExitStack, listens_on: str, asks: str, packed: bytes) -> None:
    pair = Pair(stack, listens_on, asks)
    assert established(pair.port) == [Connection(pair.port, packed, pair.client_port)]
    assert established(pair.client_port) == [Connection(pair.client_port, packed, pair.port)]
    assert {*established(pair.port), *established(pair.client_port)} <= set(established())


@pytest.mark.parametrize(("listens_on", "asks"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_the_tables_tell_the_same(stack: ExitStack, listens_on: str, asks: str) -> None:
    pair = Pair(stack, listens_on, asks)
    ports = {pair.port, pair.client_port}
    seen = [connection for connection in connections._in_tables(PROC) if connection.port in ports]
    assert sorted(seen) == sorted(connection for connection in established() if connection.port in ports)


def test_who_listens_and_what_waits_out_its_end_is_not_told_of(stack: ExitStack) -> None:
    pair = Pair(stack, "127.0.0.1", "127.0.0.1")
    pair.server.close()  # this side first: it waits
    pair.client.close()
    assert established(pair.port) == []


def test_more_connections_than_an_answer_holds_are_all_told_of(stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=900))
    port = listener.getsockname()[1]
    for _ in range(900):
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    assert len(established(port)) == 900


def test_where_the_kernel_does_not_tell_the_tables_are_read(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(stack, "127.0.0.1", "127.0.0.1")

    def refused(port: int = 0) -> list[Connection]:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(sock_diag, "established", refused)
    target = Target("127.0.0.1", pair.port)
    assert connected([target]) == {target}
    assert connections_to(pair.port) == 1


@pytest.mark.parametrize("kind", [2, 3])
def test_a_refusal_is_an_error_and_not_an_empty_answer(kind: int) -> None:
    answer = struct.pack("=IHHIIi", 20, kind, 0, 0, 0, -errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        sock_diag._read(answer, [])


@pytest.mark.parametrize("payload", [b"", struct.pack("=i", 0)])
def test_the_end_of_an_answer_is_one_with_and_without_a_code(payload: bytes) -> None:
    found: list[Connection] = []
    assert sock_diag._read(struct.pack("=IHHII", 16 + len(payload), 3, 0, 0, 0) + payload, found) is False
    assert found == []


def test_a_table_that_was_given_is_read_and_not_the_kernel(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair(stack, "127.0.0.1", "127.0.0.1")
    assert connections_to(pair.port, tmp_path) == 0
