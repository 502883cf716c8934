"""Free ports of the loopback interface, and the process that holds a taken one."""

import errno
import os
import random
import socket

LOOPBACK = "127.0.0.1"
# Below the ephemeral range: an outgoing connection could take a chosen port before its server listens.
_LOWEST, _HIGHEST = 15_000, 31_999
# The first and the last port to choose from, as in 15000-19999. A port is chosen seconds before its server listens, so
# platforms that start at the same time, such as those of parallel tests, need ranges of their own.
VARIABLE = "ADPLATFORM_PORTS"


def free_port() -> int:
    """Return a port without a listener."""
    first, _, last = os.environ.get(VARIABLE, f"{_LOWEST}-{_HIGHEST}").partition("-")
    for _ in range(1_000):
        port = random.randint(int(first), int(last))
        if is_free(port):
            return port
    raise OSError(f"no free port between {first} and {last}")


def part(number: int, of: int) -> str:
    """Return the range's nth of so many equal parts, in the format of ADPLATFORM_PORTS."""
    size = (_HIGHEST - _LOWEST + 1) // of
    first = _LOWEST + number % of * size
    return f"{first}-{first + size - 1}"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port, by IPv4 and IPv6; PermissionError below 1024."""
    return _can_listen(socket.AF_INET, LOOPBACK, port) and _can_listen(socket.AF_INET6, "::1", port)


def _can_listen(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as listener:
            # Servers set this option too: a connection in TIME_WAIT then does not block a listener.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except PermissionError:
        raise
    except OSError as error:
        return error.errno != errno.EADDRINUSE and family is socket.AF_INET6  # not every machine has IPv6
    return True


def choose(wanted: int | None, taken: set[int]) -> int:
    """Return the wanted port if it is free, else another one, and add it to those taken."""
    port = wanted
    while port is None or port in taken or not is_free(port):
        port = free_port()
    taken.add(port)
    return port


def holder(port: int) -> str:
    """Return a description of the process that listens on the port, as far as this user may see it."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if not connection.laddr or not connection.pid or connection.status != psutil.CONN_LISTEN:
            continue
        if connection.laddr.port == port:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}: {' '.join(process.cmdline())[:120]})"
            except psutil.Error:
                return f"the process with pid {connection.pid}"
    return "a process of another user"
