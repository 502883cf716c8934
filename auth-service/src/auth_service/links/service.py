"""Making and using one-time links. The mailed token is signed and names the row that says whether it was used."""

from uuid import UUID

import jwt

from adlib import identity
from adlib.clock import Clock
from adlib.db import Session, Transaction
from adlib.ids import NewId
from auth_service.links import store
from auth_service.links.model import MAX_TRIES, Link, LinkExpired, LinkInvalid, LinkUsed, Purpose
from auth_service.sessions.keys import ALGORITHM, KeyRing

# No access token: whoever checks those wants another audience.
_AUDIENCE = "adplatform-links"
_REQUIRED = ["exp", "jti", "purpose"]


class Links:
    """One-time links of people and invitations."""

    def __init__(self, keys: KeyRing, clock: Clock, ids: NewId) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def make(self, tx: Transaction, purpose: Purpose, subject_id: UUID, email: str) -> Link:
        """A new link, to be sent to this e-mail; older ones of the same purpose and subject stop working."""
        now = self._clock.now()
        link = Link(self._ids(), purpose, subject_id, email, now + purpose.lifetime)
        store.void(tx, subject_id, [purpose], now)
        store.add(tx, link, now)
        return link

    def void(self, tx: Transaction, subject_id: UUID, *purposes: Purpose) -> None:
        """Makes the subject's links for these purposes unusable."""
        store.void(tx, subject_id, purposes, self._clock.now())

    def token(self, link: Link) -> str:
        """What is mailed."""
        claims = {
            "iss": identity.USER_ISSUER,
            "aud": _AUDIENCE,
            "purpose": link.purpose.value,
            "jti": str(link.id),
            "exp": int(link.expires_at.timestamp()),
        }
        return self._keys.sign(claims)

    def find(self, db: Session, token: str, purpose: Purpose) -> Link:
        """The link, without using it; LINK_INVALID, LINK_EXPIRED or LINK_USED."""
        return _unused(store.unused(db, self._link_id(token, purpose)))

    def use(self, tx: Transaction, token: str, purpose: Purpose) -> Link:
        """Uses the link up together with what it allows; LINK_INVALID, LINK_EXPIRED or LINK_USED."""
        return _unused(store.use(tx, self._link_id(token, purpose), self._clock.now()))

    def count_try(self, tx: Transaction, link: Link) -> None:
        """Counts a try of the link; LINK_USED where there were ten, or it was used."""
        if not store.count_try(tx, link.id, MAX_TRIES):
            raise LinkUsed

    def give_try_back(self, tx: Transaction, link: Link) -> None:
        """Counts one try of the link less."""
        store.give_try_back(tx, link.id)

    def end_if_spent(self, tx: Transaction, link: Link) -> None:
        """Uses the link up where it was tried ten times."""
        store.end_spent(tx, link.id, MAX_TRIES, self._clock.now())

    def _link_id(self, token: str, purpose: Purpose) -> UUID:
        """The row that the token names; LINK_INVALID or LINK_EXPIRED."""
        try:
            key = self._keys.any(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                raise LinkInvalid
            # Held against our own clock below, so that it is the one that set the time.
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], audience=_AUDIENCE, issuer=identity.USER_ISSUER,
                options={"require": _REQUIRED, "verify_exp": False},
            )  # fmt: skip
            link_id, expires = UUID(claims["jti"]), int(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError):
            raise LinkInvalid from None
        if claims["purpose"] != purpose.value:
            raise LinkInvalid
        if expires <= self._clock.now().timestamp():
            raise LinkExpired
        return link_id


def _unused(link: Link | None) -> Link:
    if link is None:
        raise LinkUsed
    return link
