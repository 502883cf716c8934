"""The limits on guessing passwords and on requesting mail."""

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

_MINUTE_S = 60
HOUR_S = 60 * _MINUTE_S

# Per organization, and per person across their organizations, to any number of mailboxes: the sender chooses the text.
MAX_INVITATIONS_PER_HOUR = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """`free` attempts need not wait, five more wait 1, 2, 4, 8 and 16 s, and all later ones `reset_after_s`.

    `reset_after_s` seconds without an attempt reset the counter.
    """

    name: str
    free: int
    reset_after_s: int


ACCOUNT = Limit("account", 10, 15 * _MINUTE_S)
ADDRESS = Limit("address", 100, 15 * _MINUTE_S)
# A sign-up takes a tenth of a second, and an office or a program that imports its users signs up many from one address.
SIGN_UP = Limit("sign-up", 1_000, 15 * _MINUTE_S)
MAIL = Limit("mail", 5, HOUR_S)
# Separate from ADDRESS, so that a user whose sign-in is blocked by a neighbour's guesses can still reset the password.
MAIL_ADDRESS = Limit("mail-address", 100, 15 * _MINUTE_S)
# Separate from MAIL, so that inviting a user does not block resetting their password.
INVITATION = Limit("invitation", 5, HOUR_S)


@dataclass(frozen=True, slots=True)
class Counter:
    """The attempts on one account, mailbox or address under a limit."""

    limit: Limit
    subject: str


def counters(*limited: tuple[Limit, str]) -> list[Counter]:
    """The counters of these subjects; an unknown (empty) one is not counted: all callers would share it."""
    return [Counter(limit, subject) for limit, subject in limited if subject]


def network_of(address: str) -> str:
    """The subject of an address's counter: for IPv6 its /64, which belongs to one subscriber."""
    if ":" not in address:
        return address
    six = IPv6Address(address.partition("%")[0])
    return str(six.ipv4_mapped or IPv6Network((six, 64), strict=False))
