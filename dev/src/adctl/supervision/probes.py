"""Health checks of servers. Each returns within about a second and raises nothing."""

import http.client
import socket
from collections.abc import Callable

from adctl.ports import LOOPBACK

Probe = Callable[[int], bool]
"""Its argument is the process id of the server."""

_TIMEOUT_S = 1.0
# SSLRequest: its length and the request code.
_POSTGRES_TLS_REQUEST = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")
_SERVING = b"\x08\x01"
_DATA, _HEADERS, _SETTINGS, _PING, _RESET, _GOAWAY = 0, 1, 4, 6, 3, 7
_END_STREAM, _END_HEADERS, _ACKNOWLEDGED = 1, 4, 1


def http_ok(port: int, path: str) -> bool:
    """Whether GET returns 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def http_answers(port: int) -> bool:
    """Whether an HTTP server answers there, with any status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def postgres_answers(port: int) -> bool:
    """Whether PostgreSQL answers an SSLRequest, the first message of a connection, which needs no password."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_POSTGRES_TLS_REQUEST)
            return connection.recv(1) in (b"N", b"S")
    except OSError:
        return False


def grpc_serving(port: int) -> bool:
    """Whether grpc.health.v1.Health/Check of the whole server returns SERVING.

    The frames are written by hand: the gRPC library takes 40 MB, and its threads do not survive a fork.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_health_request(port))
            return _SERVING in _first_message(connection)
    except (OSError, EOFError):
        return False


def _health_request(port: int) -> bytes:
    def literal(name: bytes, value: str) -> bytes:
        return name + bytes([len(value)]) + value.encode()

    def named(name: str, value: str) -> bytes:
        return literal(b"\x00" + bytes([len(name)]) + name.encode(), value)

    headers = (
        b"\x83\x86"  # :method POST, :scheme http, both from the static table
        + literal(b"\x04", "/grpc.health.v1.Health/Check")
        + literal(b"\x01", f"{LOOPBACK}:{port}")
        + named("content-type", "application/grpc")
        + named("te", "trailers")
    )
    empty_message = b"\x00\x00\x00\x00\x00"
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, empty_message)
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _first_message(connection: socket.socket) -> bytes:
    for _ in range(20):
        header = _exactly(connection, 9)
        payload = _exactly(connection, int.from_bytes(header[:3], "big"))
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:], "big")
        if kind == _DATA and stream == 1:
            return payload[5:]
        if kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            break
        if kind == _SETTINGS and not flags & _ACKNOWLEDGED:
            connection.sendall(_frame(_SETTINGS, _ACKNOWLEDGED, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGED:
            connection.sendall(_frame(_PING, _ACKNOWLEDGED, 0, payload))
    return b""


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data
