"""One-time links, on a real database."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adlib.clock import FixedClock
from adlib.db import Database
from adlib.ids import new_id
from auth_service.links.model import Link, LinkExpired, LinkInvalid, LinkUsed, Purpose
from auth_service.links.service import Links
from auth_service.signing_keys import KeyRing

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def links(keys: KeyRing, clock: FixedClock) -> Links:
    return Links(keys, clock, new_id)


def create(db: Database, links: Links, purpose: Purpose, subject: UUID | None = None) -> Link:
    with db.transaction() as tx:
        return links.create(tx, purpose, subject or uuid4(), "ada@example.com")


def redeem(db: Database, links: Links, token: str, purpose: Purpose) -> Link:
    with db.transaction() as tx:
        return links.redeem(tx, token, purpose)


@pytest.mark.parametrize("purpose", Purpose)
def test_link_works_once_within_lifetime_for_its_purpose(
    db: Database, links: Links, clock: FixedClock, purpose: Purpose
) -> None:
    link = create(db, links, purpose)
    token = links.token(link)
    for other in set(Purpose) - {purpose}:
        with pytest.raises(LinkInvalid):
            redeem(db, links, token, other)
    clock.at = NOW + purpose.lifetime - timedelta(seconds=1)
    assert links.find(db, token, purpose) == link
    assert redeem(db, links, token, purpose) == link
    for again in (lambda: redeem(db, links, token, purpose), lambda: links.find(db, token, purpose)):
        with pytest.raises(LinkUsed):
            again()
    late = links.token(create(db, links, purpose))
    clock.at += purpose.lifetime
    with pytest.raises(LinkExpired):
        redeem(db, links, late, purpose)


def test_newer_link_of_same_purpose_and_subject_voids_older_one(db: Database, links: Links) -> None:
    subject = uuid4()
    older, other = create(db, links, Purpose.VERIFY_EMAIL, subject), create(db, links, Purpose.RESET_PASSWORD, subject)
    newer, anothers = create(db, links, Purpose.VERIFY_EMAIL, subject), create(db, links, Purpose.VERIFY_EMAIL)
    with pytest.raises(LinkUsed):
        redeem(db, links, links.token(older), Purpose.VERIFY_EMAIL)
    for link in (other, newer, anothers):
        assert redeem(db, links, links.token(link), link.purpose) == link


def test_redemption_is_rolled_back_with_its_transaction(db: Database, links: Links) -> None:
    link = create(db, links, Purpose.RESET_PASSWORD)
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        links.redeem(tx, links.token(link), Purpose.RESET_PASSWORD)
        raise ZeroDivisionError
    assert redeem(db, links, links.token(link), Purpose.RESET_PASSWORD) == link


def test_concurrent_redemptions_succeed_once(db: Database, links: Links) -> None:
    token = links.token(create(db, links, Purpose.RESET_PASSWORD))
    ready = threading.Barrier(4)

    def won(_: int) -> bool:
        ready.wait()
        try:
            redeem(db, links, token, Purpose.RESET_PASSWORD)
        except LinkUsed:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(won, range(4))).count(True) == 1


def test_link_is_valid_after_key_rotation(db: Database, clock: FixedClock, tmp_path: Path) -> None:
    for name in ("20260101T000000Z", "20260203T000000Z"):
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(pem)
    links = Links(KeyRing(tmp_path, clock), clock, new_id)
    link = create(db, links, Purpose.INVITATION)
    token = links.token(link)
    clock.at = NOW + timedelta(days=5)
    assert jwt.get_unverified_header(links.token(link))["kid"] != jwt.get_unverified_header(token)["kid"]
    assert redeem(db, links, token, Purpose.INVITATION) == link


def test_forged_and_modified_tokens_are_invalid(db: Database, links: Links) -> None:
    token = links.token(create(db, links, Purpose.RESET_PASSWORD))
    head, body, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = [
        "",
        "nonsense",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        jwt.encode(claims, None, algorithm="none", headers={"kid": jwt.get_unverified_header(token)["kid"]}),
        jwt.encode(claims, "secret" * 10, algorithm="HS256", headers={"kid": jwt.get_unverified_header(token)["kid"]}),
        "x" * 2048,
    ]
    for one in forged:
        with pytest.raises(LinkInvalid):
            redeem(db, links, one, Purpose.RESET_PASSWORD)
