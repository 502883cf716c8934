"""Runs a command in a user namespace as `nobody`, while its files keep their owner.

A program of its own: the kernel refuses a new namespace to a process with several threads, and gRPC starts some in a
process that is forked from one that uses it.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_NOBODY = 65534


def main(stop_signal: int, command: list[str]) -> None:
    """Execute the command, which gets the signal when the thread that started this program ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit(f"user namespaces are not allowed here: {os.strerror(ctypes.get_errno())}")
    maps = {"setgroups": "deny", "uid_map": f"{_NOBODY} {user} 1", "gid_map": f"{_NOBODY} {group} 1"}
    for name, value in maps.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(value)
    libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    os.execv(command[0], command)  # noqa: S606  # the programs of our own wheels, no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
