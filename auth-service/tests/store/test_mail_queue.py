"""Mail is queued in the database until the mail server accepts it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from adlib.clock import FixedClock
from adlib.db import Database, Query
from adlib.ids import new_id
from adtesting.auth import FakeMailer
from auth_service.links.model import Link, Purpose
from auth_service.links.service import Links
from auth_service.mail.model import Mail, MailFailed, MailKind, MailRefused
from auth_service.mail.service import OutgoingMail
from auth_service.mail.tasks import MailSender
from auth_service.signing_keys import KeyRing
from auth_service.tables import outgoing_mails

NOW = datetime(2026, 2, 1, tzinfo=UTC)
NEXT = Query(select(outgoing_mails.c.next_try_at))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


class PostOffice:
    """Queues mail and sends it."""

    def __init__(self, db: Database, keys: KeyRing) -> None:
        self.db = db
        self.clock = FixedClock(NOW)
        self.links = Links(keys, self.clock, new_id)
        self.mail = OutgoingMail(self.clock, new_id)
        self.mailer = FakeMailer()
        self.sender = MailSender(db, self.mail.added, self.mailer, self.links, self.clock, app_url="https://app.test/")

    def write(self, recipient: str = "ada@example.com") -> Link:
        with self.db.transaction() as tx:
            link = self.links.create(tx, Purpose.RESET_PASSWORD, uuid4(), recipient)
            self.mail.add(tx, MailKind.RESET_PASSWORD, recipient, link)
            return link

    def send(self) -> int:
        """Attempts to send all due mail; returns the number of attempts."""
        attempts = 0
        while self.sender.send_next():
            attempts += 1
        return attempts


@pytest.fixture
def office(db: Database, keys: KeyRing) -> PostOffice:
    return PostOffice(db, keys)


def test_mail_is_sent_once_after_commit_with_a_valid_link(office: PostOffice) -> None:
    link = office.write()
    assert office.mail.added.is_set()
    assert (office.send(), office.send()) == (1, 0)
    (mail,) = office.mailer.sent
    assert mail.recipient == "ada@example.com"
    token = mail.text.split("https://app.test/reset-password?token=")[1].split()[0]
    assert office.links.find(office.db, token, Purpose.RESET_PASSWORD) == link


def test_bulk_mail_is_sent_after_other_mail(office: PostOffice) -> None:
    with office.db.transaction() as tx:
        for number in range(3):
            office.mail.add(tx, MailKind.NOTIFICATION, f"{number}@example.com", title="Update", body="Old.")
    office.write("waiting@example.com")
    assert office.send() == 4
    assert office.mailer.sent[0].recipient == "waiting@example.com"


def test_rolled_back_mail_is_not_sent(office: PostOffice) -> None:
    with pytest.raises(ZeroDivisionError), office.db.transaction() as tx:
        office.mail.add(tx, MailKind.PASSWORD_CHANGED, "ada@example.com")
        raise ZeroDivisionError
    assert office.send() == 0
    assert not office.mail.added.is_set()


def test_mail_with_voided_or_expired_link_is_not_sent(office: PostOffice) -> None:
    link = office.write()
    with office.db.transaction() as tx:
        office.links.void(tx, link.subject_id, Purpose.RESET_PASSWORD)
    office.write("late@example.com")
    office.clock.at += timedelta(hours=1)
    assert office.send() == 2
    assert office.mailer.sent == []
    assert office.send() == 0


def test_failed_mail_is_retried_with_backoff_for_two_days(
    office: PostOffice,
) -> None:
    with office.db.transaction() as tx:
        office.mail.add(tx, MailKind.PASSWORD_CHANGED, "ada@example.com")
    office.mailer.error = MailFailed("451 later")
    waits = []
    while office.send() and (row := office.db.one(NEXT)):
        waits.append((row.next_try_at - office.clock.at).total_seconds())
        office.clock.at = row.next_try_at - timedelta(seconds=1)
        assert office.send() == 0
        office.clock.at = row.next_try_at
    assert waits[:5] == [5, 10, 20, 40, 80]
    assert max(waits) == 3600
    assert timedelta(days=2) <= office.clock.at - NOW <= timedelta(days=2, hours=1)
    office.mailer.error = None
    assert office.send() == 0


def test_failed_mail_is_retried_and_does_not_delay_other_mail(office: PostOffice) -> None:
    office.write()
    office.mailer.error = MailFailed("451 later")
    office.send()
    office.mailer.error = None
    office.write("grace@example.com")
    assert office.send() == 1
    office.clock.at += timedelta(seconds=5)
    assert office.send() == 1
    assert [mail.recipient for mail in office.mailer.sent] == ["grace@example.com", "ada@example.com"]


def test_refused_mail_is_not_retried(office: PostOffice) -> None:
    office.write()
    office.mailer.error = MailRefused("550 no such person")
    assert office.send() == 1
    office.mailer.error = None
    office.clock.at += timedelta(days=1)
    assert office.send() == 0


def test_claimed_mail_is_sent_by_one_sender_and_reclaimed_after_its_lease(office: PostOffice) -> None:
    office.write()
    within: list[int] = []

    class Slow(FakeMailer):
        def send(self, mail: Mail) -> None:
            within.append(office.send())
            raise KeyboardInterrupt

    sender = MailSender(office.db, office.mail.added, Slow(), office.links, office.clock, app_url="https://app.test")
    with pytest.raises(KeyboardInterrupt):
        sender.send_next()
    assert within == [0]
    assert office.send() == 0
    office.clock.at += timedelta(minutes=2)
    assert office.send() == 1
    assert len(office.mailer.sent) == 1
