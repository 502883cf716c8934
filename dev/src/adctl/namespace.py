"""Runs a command in a user namespace where it is nobody, while its files stay ours.

A program of its own and not a part of `children`: the kernel refuses a namespace to a process with several threads, and
what is forked from a program that uses gRPC has some at once.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_NOBODY = 65534


def main(stop_signal: int, command: list[str]) -> None:
    """Becomes the command, which gets the signal when the thread ends that started us."""
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
