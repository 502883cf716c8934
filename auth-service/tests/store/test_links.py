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
from auth_service.sessions.keys import KeyRing

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


def make(db: Database, links: Links, purpose: Purpose, subject: UUID | None = None) -> Link:
    with db.transaction() as tx:
        return links.make(tx, purpose, subject or uuid4(), "ada@example.com")


def use(db: Database, links: Links, token: str, purpose: Purpose) -> Link:
    with db.transaction() as tx:
        return links.use(tx, token, purpose)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_link_works_once_within_its_lifetime_and_for_its_purpose_alone(
    db: Database, links: Links, clock: FixedClock, purpose: Purpose
) -> None:
    link = make(db, links, purpose)
    token = links.token(link)
    for other in set(Purpose) - {purpose}:
        with pytest.raises(LinkInvalid):
            use(db, links, token, other)
    clock.at = NOW + purpose.lifetime - timedelta(seconds=1)
    assert links.find(db, token, purpose) == link
    assert use(db, links, token, purpose) == link
    for again in (lambda: use(db, links, token, purpose), lambda: links.find(db, token, purpose)):
        with pytest.raises(LinkUsed):
            again()
    late = links.token(make(db, links, purpose))
    clock.at += purpose.lifetime
    with pytest.raises(LinkExpired):
        use(db, links, late, purpose)


def test_a_newer_link_of_the_same_purpose_and_subject_replaces_the_older_one(db: Database, links: Links) -> None:
    subject = uuid4()
    older, other = make(db, links, Purpose.VERIFY_EMAIL, subject), make(db, links, Purpose.RESET_PASSWORD, subject)
    newer, anothers = make(db, links, Purpose.VERIFY_EMAIL, subject), make(db, links, Purpose.VERIFY_EMAIL)
    with pytest.raises(LinkUsed):
        use(db, links, links.token(older), Purpose.VERIFY_EMAIL)
    for link in (other, newer, anothers):
        assert use(db, links, links.token(link), link.purpose) == link


def test_a_use_is_undone_with_its_transaction(db: Database, links: Links) -> None:
    link = make(db, links, Purpose.RESET_PASSWORD)
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        links.use(tx, links.token(link), Purpose.RESET_PASSWORD)
        raise ZeroDivisionError
    assert use(db, links, links.token(link), Purpose.RESET_PASSWORD) == link


def test_of_those_who_use_a_link_at_the_same_time_one_does(db: Database, links: Links) -> None:
    token = links.token(make(db, links, Purpose.RESET_PASSWORD))
    ready = threading.Barrier(4)

    def won(_: int) -> bool:
        ready.wait()
        try:
            use(db, links, token, Purpose.RESET_PASSWORD)
        except LinkUsed:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(won, range(4))).count(True) == 1


def test_a_link_survives_a_change_of_keys(db: Database, clock: FixedClock, tmp_path: Path) -> None:
    for name in ("20260101T000000Z", "20260203T000000Z"):
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(pem)
    links = Links(KeyRing(tmp_path, clock), clock, new_id)
    link = make(db, links, Purpose.INVITATION)
    token = links.token(link)
    clock.at = NOW + timedelta(days=5)
    assert jwt.get_unverified_header(links.token(link))["kid"] != jwt.get_unverified_header(token)["kid"]
    assert use(db, links, token, Purpose.INVITATION) == link


def test_forged_and_changed_tokens_are_invalid(db: Database, links: Links) -> None:
    token = links.token(make(db, links, Purpose.RESET_PASSWORD))
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
            use(db, links, one, Purpose.RESET_PASSWORD)
