"""Permission sets as bitmasks; the contract assigns each permission code a bit."""

from collections.abc import Iterable

from adplatform.options.v1 import options_pb2
from adplatform.options.v1.options_pb2 import Permission

_INFO = {
    value.number: value.GetOptions().Extensions[options_pb2.permission]
    for value in Permission.DESCRIPTOR.values
    if value.number
}
_BIT = {code: 1 << info.bit for code, info in _INFO.items()}

ADMIN_FULL = _BIT[Permission.ADMIN_FULL]


def mask(codes: Iterable[int]) -> int:
    """The bitmask of these codes; codes that this release does not know grant nothing."""
    held = 0
    for code in codes:
        held |= _BIT.get(code, 0)
    return held


def codes(held: int) -> list[int]:
    """The codes in a bitmask, ascending."""
    return sorted(code for code, bit in _BIT.items() if held & bit)


def titles() -> dict[int, str]:
    """Every permission's code and title."""
    return {code: info.title for code, info in _INFO.items()}


def names(held: int) -> list[str]:
    """The names of the permissions in a bitmask, by code."""
    return [Permission.Name(Permission.ValueType(code)) for code in codes(held)]


def limited(held: int, by: int) -> int:
    """The permissions of a set that `by` also has; a `by` with ADMIN_FULL limits nothing."""
    return held if by & ADMIN_FULL else held & by


def satisfies(held: int, *, required_all: int = 0, required_any: int = 0) -> bool:
    """Whether a set meets a requirement; ADMIN_FULL meets all."""
    if held & ADMIN_FULL:
        return True
    return held & required_all == required_all and (not required_any or bool(held & required_any))
