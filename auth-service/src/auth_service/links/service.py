"""Creates and redeems one-time links. The mailed token is signed; its row in the database shows whether it was used."""

from uuid import UUID

import jwt

from adlib import identity
from adlib.clock import Clock
from adlib.db import Session, Transaction
from adlib.ids import NewId
from auth_service.links import store
from auth_service.links.model import MAX_ATTEMPTS, Link, LinkExpired, LinkInvalid, LinkUsed, Purpose
from auth_service.signing_keys import ALGORITHM, KeyRing

# Differs from the audience of access tokens, so that a link cannot be used as an access token.
_AUDIENCE = "adplatform-links"
_REQUIRED_CLAIMS = ["exp", "jti", "purpose"]


class Links:
    """One-time links of users and invitations."""

    def __init__(self, keys: KeyRing, clock: Clock, ids: NewId) -> None:
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def create(self, tx: Transaction, purpose: Purpose, subject_id: UUID, email: str) -> Link:
        """Creates a link for this e-mail address and voids the older ones of the same purpose and subject."""
        now = self._clock.now()
        link = Link(self._ids(), purpose, subject_id, email, now + purpose.lifetime)
        store.void(tx, subject_id, [purpose], now)
        store.add(tx, link, now)
        return link

    def void(self, tx: Transaction, subject_id: UUID, *purposes: Purpose) -> None:
        """Voids the subject's links for these purposes."""
        store.void(tx, subject_id, purposes, self._clock.now())

    def token(self, link: Link) -> str:
        """The signed token to mail."""
        claims = {
            "iss": identity.USER_ISSUER,
            "aud": _AUDIENCE,
            "purpose": link.purpose.value,
            "jti": str(link.id),
            "exp": int(link.expires_at.timestamp()),
        }
        return self._keys.sign(claims)

    def find(self, db: Session, token: str, purpose: Purpose) -> Link:
        """The link, without redeeming it; LINK_INVALID, LINK_EXPIRED, LINK_USED."""
        return _unused(store.unused(db, self._link_id(token, purpose)))

    def redeem(self, tx: Transaction, token: str, purpose: Purpose) -> Link:
        """Redeems the link in the caller's transaction; LINK_INVALID, LINK_EXPIRED, LINK_USED."""
        return _unused(store.redeem(tx, self._link_id(token, purpose), self._clock.now()))

    def count_attempt(self, tx: Transaction, link: Link) -> None:
        """Counts an attempt to use the link; LINK_USED after ten, or if it was used."""
        if not store.count_attempt(tx, link.id, MAX_ATTEMPTS):
            raise LinkUsed

    def uncount_attempt(self, tx: Transaction, link: Link) -> None:
        """Reverts one counted attempt."""
        store.uncount_attempt(tx, link.id)

    def void_if_exhausted(self, tx: Transaction, link: Link) -> None:
        """Voids the link after its tenth attempt."""
        store.void_exhausted(tx, link.id, MAX_ATTEMPTS, self._clock.now())

    def _link_id(self, token: str, purpose: Purpose) -> UUID:
        """The id of the token's link; LINK_INVALID, LINK_EXPIRED."""
        try:
            key = self._keys.get_any(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                raise LinkInvalid
            # The expiry is checked below against the injected clock, which also set it.
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], audience=_AUDIENCE, issuer=identity.USER_ISSUER,
                options={"require": _REQUIRED_CLAIMS, "verify_exp": False},
            )  # fmt: skip
            link_id, expires_at_s = UUID(claims["jti"]), int(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError):
            raise LinkInvalid from None
        if claims["purpose"] != purpose.value:
            raise LinkInvalid
        if expires_at_s <= self._clock.now().timestamp():
            raise LinkExpired
        return link_id


def _unused(link: Link | None) -> Link:
    if link is None:
        raise LinkUsed
    return link
