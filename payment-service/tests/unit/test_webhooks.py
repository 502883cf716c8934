"""Who is listened to, and about what."""

from datetime import UTC, datetime

from payment_service.payments.model import IncomingFunds
from payment_service.payouts.model import State
from payment_service.providers.protocol import Event, PayoutReport, UnmatchedFunds
from payment_service.webhooks.sources import PayoutsOnly

PAYOUT = PayoutReport("7", State.PAID, "")


class Bank:
    """Tells of a payout and of money that has come in, whatever it is asked."""

    def event(self, body, _header):
        return self.read(body)

    def read(self, _body):
        return Event("e", "x", [UnmatchedFunds(IncomingFunds("k", 1, "USD")), PAYOUT])

    def missed(self, _since):
        return [self.read(b"")]


def test_of_a_bank_that_nobody_pays_by_only_payouts_are_heard() -> None:
    bank = PayoutsOnly(Bank())
    for event in (bank.event(b"", lambda _: ""), bank.read(b"")):
        assert (event.id, event.kind, event.news) == ("e", "x", [PAYOUT])
    assert list(bank.missed(datetime.now(UTC))) == []
