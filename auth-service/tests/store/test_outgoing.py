"""Mail that waits in the database until the mail server takes it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from adlib.clock import FixedClock
from adlib.db import Database, Query
from adlib.ids import new_id
from auth_service.links.model import Link, Purpose
from auth_service.links.service import Links
from auth_service.mail.mailer import FakeMailer, MailFailed, MailRefused
from auth_service.mail.model import Mail, MailKind
from auth_service.mail.outgoing import MailSender, Outgoing
from auth_service.sessions.keys import KeyRing
from auth_service.tables import outgoing_mails

NOW = datetime(2026, 2, 1, tzinfo=UTC)
NEXT = Query(select(outgoing_mails.c.next_try_at))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


class Office:
    """Who writes mail, and who sends it."""

    def __init__(self, db: Database, keys: KeyRing) -> None:
        self.db = db
        self.clock = FixedClock(NOW)
        self.links = Links(keys, self.clock, new_id)
        self.outgoing = Outgoing(self.clock, new_id)
        self.mailer = FakeMailer()
        self.sender = MailSender(db, self.outgoing, self.mailer, self.links, self.clock, app_url="https://app.test/")

    def write(self, recipient: str = "ada@example.com") -> Link:
        with self.db.transaction() as tx:
            link = self.links.make(tx, Purpose.RESET_PASSWORD, uuid4(), recipient)
            self.outgoing.add(tx, MailKind.RESET_PASSWORD, recipient, link)
            return link

    def send(self) -> int:
        """Tries what is due; how many that were."""
        tried = 0
        while self.sender.send_one():
            tried += 1
        return tried


@pytest.fixture
def office(db: Database, keys: KeyRing) -> Office:
    return Office(db, keys)


def test_mail_is_sent_once_after_its_transaction_and_with_a_link_that_works(office: Office) -> None:
    link = office.write()
    assert office.outgoing.added.is_set()
    assert (office.send(), office.send()) == (1, 0)
    (mail,) = office.mailer.sent
    assert mail.recipient == "ada@example.com"
    token = mail.text.split("https://app.test/reset-password?token=")[1].split()[0]
    assert office.links.find(office.db, token, Purpose.RESET_PASSWORD) == link


def test_what_one_can_send_much_of_does_not_hold_up_what_somebody_waits_for(office: Office) -> None:
    with office.db.transaction() as tx:
        for number in range(3):
            office.outgoing.add(tx, MailKind.NOTIFICATION, f"{number}@example.com", title="News", body="Old ones.")
    office.write("waiting@example.com")
    assert office.send() == 4
    assert office.mailer.sent[0].recipient == "waiting@example.com"


def test_what_was_undone_is_not_mailed(office: Office) -> None:
    with pytest.raises(ZeroDivisionError), office.db.transaction() as tx:
        office.outgoing.add(tx, MailKind.PASSWORD_CHANGED, "ada@example.com")
        raise ZeroDivisionError
    assert office.send() == 0
    assert not office.outgoing.added.is_set()


def test_a_mail_whose_link_is_good_no_longer_is_not_sent(office: Office) -> None:
    link = office.write()
    with office.db.transaction() as tx:
        office.links.void(tx, link.subject_id, Purpose.RESET_PASSWORD)
    office.write("late@example.com")
    office.clock.at += timedelta(hours=1)
    assert office.send() == 2
    assert office.mailer.sent == []
    assert office.send() == 0


def test_a_mail_server_that_fails_is_asked_again_ever_less_often_and_given_up_after_two_days(office: Office) -> None:
    with office.db.transaction() as tx:
        office.outgoing.add(tx, MailKind.PASSWORD_CHANGED, "ada@example.com")
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


def test_a_mail_server_that_is_back_gets_the_mail_and_others_do_not_wait_for_one_that_fails(office: Office) -> None:
    office.write()
    office.mailer.error = MailFailed("451 later")
    office.send()
    office.mailer.error = None
    office.write("grace@example.com")
    assert office.send() == 1
    office.clock.at += timedelta(seconds=5)
    assert office.send() == 1
    assert [mail.recipient for mail in office.mailer.sent] == ["grace@example.com", "ada@example.com"]


def test_a_mail_that_is_refused_is_not_tried_again(office: Office) -> None:
    office.write()
    office.mailer.error = MailRefused("550 no such person")
    assert office.send() == 1
    office.mailer.error = None
    office.clock.at += timedelta(days=1)
    assert office.send() == 0


def test_nobody_else_sends_what_is_being_sent_and_a_lost_sender_is_replaced(office: Office) -> None:
    office.write()
    within: list[int] = []

    class Slow(FakeMailer):
        def send(self, mail: Mail) -> None:
            within.append(office.send())
            raise KeyboardInterrupt

    sender = MailSender(office.db, office.outgoing, Slow(), office.links, office.clock, app_url="https://app.test")
    with pytest.raises(KeyboardInterrupt):
        sender.send_one()
    assert within == [0]
    assert office.send() == 0
    office.clock.at += timedelta(minutes=2)
    assert office.send() == 1
    assert len(office.mailer.sent) == 1
