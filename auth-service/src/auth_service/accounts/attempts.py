"""The brake on guessing: attempts are counted in Redis, and the more there were, the longer the next one must wait."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import cast

import grpc
import redis
from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.clock import Clock
from adlib.errors import AppError, Unavailable


class TooManyAttempts(AppError):
    """The next attempt must wait."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.TOO_MANY_ATTEMPTS

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"there were too many attempts; try again in {math.ceil(wait_s)} s")
        self.retry_after_s = wait_s


@dataclass(frozen=True, slots=True)
class _Limit:
    """`free` attempts need not wait, then five wait 1, 2, 4, 8, 16 s, then all until there was none for `fade_s`."""

    name: str
    free: int
    fade_s: int


_ACCOUNT = _Limit("account", 10, 15 * 60)
_ADDRESS = _Limit("address", 100, 15 * 60)
# Each takes a tenth of a second, and many may sign up from one address: an office, a program that brings its users.
_SIGN_UP = _Limit("sign-up", 1_000, 15 * 60)
_MAIL = _Limit("mail", 5, 60 * 60)
# Beside that of passwords: whoever cannot sign in because of a neighbour's guesses can still reset theirs.
_MAIL_ADDRESS = _Limit("mail-address", 100, 15 * 60)
# Beside the others, so that nobody keeps somebody from resetting their password by inviting them.
_INVITATION = _Limit("invitation", 5, 60 * 60)

# KEYS: the counters; ARGV: now in ms, then `free` and `fade_s` of each. Answers how long to wait in ms, and counts
# everywhere or, where that is not 0, nowhere: whoever is refused does not prolong it. All in one script, so that
# attempts made at the same time are counted before any of them is allowed.
_COUNT = """
local now, wait, counted = tonumber(ARGV[1]), 0, {}
for i, key in ipairs(KEYS) do
  local free, fade = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1]) * 1000
  local kept = redis.call('HMGET', key, 'n', 'last')
  local n, last = tonumber(kept[1] or 0), tonumber(kept[2] or 0)
  if now - last >= fade then n = 0 end
  counted[i] = n + 1
  if n >= free then
    local step = n - free
    local due = last + (step < 5 and 2 ^ step * 1000 or fade)
    wait = math.max(wait, due - now)
  end
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'n', counted[i], 'last', now)
  redis.call('EXPIRE', key, ARGV[2 * i + 1])
end
return 0
"""
# One attempt less: it was no guess.
_GIVE_BACK = """
if tonumber(redis.call('HGET', KEYS[1], 'n') or 0) > 0 then redis.call('HINCRBY', KEYS[1], 'n', -1) end
return 0
"""


class Attempts:
    """Counts attempts by account, whether it exists or not, and by address; UNAVAILABLE while Redis does not answer."""

    def __init__(self, shared: redis.Redis, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._count_script = shared.register_script(_COUNT)
        self._give_back_script = shared.register_script(_GIVE_BACK)

    def at_password(self, email: str, address: str) -> None:
        """Before a password is checked; TOO_MANY_ATTEMPTS."""
        self._count((_ACCOUNT, email), (_ADDRESS, _whose(address)))

    def at_sign_up(self, address: str) -> None:
        """Before a new password is judged and hashed for a stranger; TOO_MANY_ATTEMPTS."""
        self._count((_SIGN_UP, _whose(address)))

    def at_mail(self, email: str, address: str) -> None:
        """Before a mail is sent that anybody can ask for; TOO_MANY_ATTEMPTS."""
        self._count((_MAIL, email), (_MAIL_ADDRESS, _whose(address)))

    def at_invitation(self, email: str) -> None:
        """Before an invitation is sent, whoever sends it; TOO_MANY_ATTEMPTS."""
        self._count((_INVITATION, email))

    def succeeded(self, email: str, address: str) -> None:
        """The password was right: forgets the account's attempts, and that this one was made from the address.

        Only this one: whoever has an account could otherwise guess at others', signing in from time to time.
        """
        with _translated():
            self._shared.delete(_key(_ACCOUNT, email))
            if address:
                self._give_back_script(keys=[_key(_ADDRESS, _whose(address))])

    def released(self, email: str) -> None:
        """The account has a new password: forgets its attempts."""
        with _translated():
            self._shared.delete(_key(_ACCOUNT, email))

    def _count(self, *counters: tuple[_Limit, str]) -> None:
        # An address that is not known is everybody's.
        known = [(limit, whose) for limit, whose in counters if whose]
        keys = [_key(limit, whose) for limit, whose in known]
        now_ms = int(self._clock.now().timestamp() * 1000)
        numbers = [number for limit, _ in known for number in (limit.free, limit.fade_s)]
        with _translated():
            wait_ms = cast("int", self._count_script(keys=keys, args=[now_ms, *numbers]))
        if wait_ms:
            raise TooManyAttempts(wait_ms / 1000)


def _whose(address: str) -> str:
    """Whose address it is: whoever has an IPv6 address has the 2^64 of its network."""
    if ":" not in address:
        return address
    six = IPv6Address(address.partition("%")[0])
    return str(six.ipv4_mapped or IPv6Network((six, 64), strict=False))


def _key(limit: _Limit, whose: str) -> str:
    return f"attempts:{limit.name}:{hashlib.sha256(whose.encode()).hexdigest()}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        # Never without the brake.
        raise Unavailable("attempts to sign in cannot be counted right now; try again") from error
