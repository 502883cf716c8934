"""The mail server as smtplib and the control endpoints see it."""

import signal
import smtplib
import time
from email.message import EmailMessage
from uuid import uuid4

import pytest

LINK = "https://app.example/verify?token=abc.def-1_2&x=1"


def _mail(to: str, **changes: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = "noreply@adplatform.test", to
    mail["Subject"] = changes.get("subject", "Prüfe deine Adresse")
    mail.set_content(changes.get("text", f"Open {LINK}, or ({LINK}).\nGrüße"))
    return mail


def _send(process, mail: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", process.ports["mail-sandbox-smtp"], timeout=10) as smtp:
        smtp.send_message(mail)


def _received(process, to: str) -> list[dict]:
    return process.mail.get("/sandbox/mails", params={"to": to}).raise_for_status().json()["mails"]


@pytest.fixture
def address() -> str:
    return f"{uuid4().hex}@example.com"


def test_mail_is_stored_with_its_text_and_links(sandboxes, address):
    _send(sandboxes, _mail(address))
    (mail,) = _received(sandboxes, address.upper())
    assert mail["subject"] == "Prüfe deine Adresse"
    assert mail["text"].splitlines()[-1] == "Grüße"
    assert mail["links"] == [LINK]
    assert (mail["from"], mail["to"]) == ("noreply@adplatform.test", [address])
    assert mail["received_at"].endswith("+00:00")
    assert sandboxes.mail.get(f"/sandbox/mails/{mail['id']}").json() == mail


def test_mails_are_listed_newest_first_up_to_the_limit(sandboxes, address):
    for number in range(3):
        _send(sandboxes, _mail(address, subject=str(number)))
    shown = sandboxes.mail.get("/sandbox/mails", params={"to": address, "limit": 2}).json()["mails"]
    assert [mail["subject"] for mail in shown] == ["2", "1"]
    for wrong in ("0", "501", "many"):
        assert sandboxes.mail.get("/sandbox/mails", params={"limit": wrong}).status_code == 400


def test_links_of_a_mail_without_plain_text_are_found(sandboxes, address):
    mail = EmailMessage()
    mail["From"], mail["To"] = "noreply@adplatform.test", address
    mail.set_content('<a href="https://app.example/a?b=1&amp;c=2">here</a>', subtype="html")
    _send(sandboxes, mail)
    assert _received(sandboxes, address)[0]["links"] == ["https://app.example/a?b=1&c=2"]


def test_mail_above_1_mib_and_unreadable_mail_are_refused(sandboxes, address):
    with pytest.raises(smtplib.SMTPResponseException) as too_large:
        _send(sandboxes, _mail(address, text="x" * 70 + "\n" + ("y" * 70 + "\n") * 15_000))
    assert too_large.value.smtp_code == 552
    unreadable = _mail(address)
    unreadable.replace_header("Content-Type", 'text/plain; charset="klingon"')
    with pytest.raises(smtplib.SMTPDataError, match="LookupError"):
        _send(sandboxes, unreadable)
    assert _received(sandboxes, address) == []


def test_failing_mail_server_stores_nothing(sandboxes, address):
    assert sandboxes.mail.get("/sandbox/behaviour").json()["status"] == 451
    sandboxes.mail.put("/sandbox/behaviour", json={"fail_next": 1}).raise_for_status()
    with pytest.raises(smtplib.SMTPDataError) as later:
        _send(sandboxes, _mail(address))
    assert later.value.smtp_code == 451
    sandboxes.mail.put("/sandbox/behaviour", json={"fail_next": 1, "status": 550}).raise_for_status()
    with pytest.raises(smtplib.SMTPDataError) as never:
        _send(sandboxes, _mail(address))
    assert never.value.smtp_code == 550
    assert _received(sandboxes, address) == []
    assert sandboxes.mail.delete("/sandbox/behaviour").json()["status"] == 451
    _send(sandboxes, _mail(address))
    assert len(_received(sandboxes, address)) == 1


def test_mail_with_a_lost_answer_is_stored(sandboxes, address):
    sandboxes.mail.put("/sandbox/behaviour", json={"fail_next": 1, "lose_answers": True}).raise_for_status()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        _send(sandboxes, _mail(address))
    assert len(_received(sandboxes, address)) == 1
    _send(sandboxes, _mail(address))


def test_slow_mail_server_does_not_delay_shutdown(start, tmp_path, address):
    slow = start(tmp_path)
    slow.mail.put("/sandbox/behaviour", json={"delay_ms": 300}).raise_for_status()
    began = time.monotonic()
    _send(slow, _mail(address))
    assert time.monotonic() - began >= 0.3
    with smtplib.SMTP("127.0.0.1", slow.ports["mail-sandbox-smtp"], timeout=10) as idle:
        idle.ehlo()
        slow.process.terminate()
        assert slow.process.wait(timeout=5) == 0
        idle.close()


def test_mails_survive_a_kill_and_are_deleted_on_request(start, tmp_path, address):
    before = start(tmp_path)
    _send(before, _mail(address))
    before.process.send_signal(signal.SIGKILL)
    before.process.wait(timeout=5)
    after = start(tmp_path)
    assert len(_received(after, address)) == 1
    assert after.mail.delete("/sandbox/mails").json() == {"deleted": 1}
    assert _received(after, address) == []
    assert after.mail.get("/sandbox/mails/1").status_code == 404
