"""Child processes that never outlive this one, with any user id and however it ends."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adctl.errors import UserError
from adctl.supervision import namespace

_PR_SET_PDEATHSIG = 1
_NOBODY = 65534


def disable_grpc_fork_support() -> None:
    """Disable gRPC's fork handlers; call it before gRPC is imported.

    They can kill a child between fork and exec while other threads make calls.
    """
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"


class ChildError(UserError):
    """A process did not start, or ended unexpectedly."""


@dataclass(frozen=True)
class Identity:
    """The account of a child: this process's (the default), this one as `nobody` in a user namespace, or `nobody`."""

    namespace: bool = False
    drops_root: bool = False

    def own(self, path: Path) -> None:
        """Change the owner of the path to this account."""
        if self.drops_root:
            os.chown(path, _NOBODY, _NOBODY)


SAME_USER = Identity()
NAMESPACE = Identity(namespace=True)
NO_ACCESS = Identity(drops_root=True)


def unprivileged() -> Identity:
    """Return the least intrusive identity that PostgreSQL accepts: not root, and with a name.

    In a container the user id may have no name; in a user namespace it has one.
    """
    root = os.geteuid() == 0
    if not root and _has_name(os.geteuid()):
        return SAME_USER
    tried = spawn([sys.executable, "-S", "-c", ""], identity=NAMESPACE, stop_signal=signal.SIGKILL)
    if tried.wait(10) == 0:
        return NAMESPACE
    return NO_ACCESS if root else SAME_USER


def _has_name(user: int) -> bool:
    try:
        return bool(pwd.getpwuid(user).pw_name)
    except KeyError:
        return False


def spawn(
    command: Sequence[str | Path],
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    identity: Identity = SAME_USER,
    environment: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that gets the stop signal when the calling thread ends.

    Call it from the main thread: the kernel ties that signal to the thread, not to the process.
    """
    # Loaded here: between fork and exec only system calls are safe.
    libc = ctypes.CDLL(None, use_errno=True)

    def between_fork_and_exec() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)

    if identity.namespace:
        command = [sys.executable, "-S", namespace.__file__, str(int(stop_signal)), *command]
    account = _NOBODY if identity.drops_root else None
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=log if log is not None else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=dict(environment) if environment is not None else None,
        cwd=folder,
        start_new_session=True,
        preexec_fn=between_fork_and_exec,
        user=account,
        group=account,
        extra_groups=[] if identity.drops_root else None,
    )


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, *, grace_s: float = 10) -> None:
    """Stop a child, and kill the remaining members of its process group after the grace period."""
    if process.poll() is None:
        process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    kill_group(process.pid)
    process.wait()


def kill_group(leader_pid: int) -> None:
    """Kill the remaining members of the process group that a spawned child leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)
