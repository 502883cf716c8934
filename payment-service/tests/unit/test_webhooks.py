"""For a bank that only sends payouts, nothing else is booked, and each webhook RPC names its provider."""

from adplatform.payment.v1 import payment_pb2 as pb

from payment_service.payments.model import IncomingFunds
from payment_service.providers.model import PayoutReport, ProviderEvent, TransferState, TransferStatus, UnmatchedFunds
from payment_service.providers.protocol import Header, ReadsWebhooks
from payment_service.providers.settings import kinds
from payment_service.providers.wise.webhooks import PayoutWebhooks
from payment_service.webhooks.servicer import provider_of

PAYOUT = PayoutReport("7", TransferStatus(TransferState.PAID))


class Webhooks(ReadsWebhooks):
    """Parses every body to a payout and a deposit."""

    def verify(self, body: bytes, header: Header) -> None:
        return

    def parse(self, body: bytes) -> ProviderEvent:
        return ProviderEvent("e", "x", [UnmatchedFunds(IncomingFunds("k", 1, "USD")), PAYOUT])


def test_deposits_at_a_bank_that_only_sends_payouts_are_ignored() -> None:
    event = PayoutWebhooks(Webhooks()).parse(b"")
    assert (event.id, event.kind, event.updates) == ("e", "x", [PAYOUT])


def test_webhook_paths_name_providers_of_the_contract() -> None:
    methods = pb.DESCRIPTOR.services_by_name["WebhookService"].methods
    assert {provider_of(method) for method in methods} <= set(kinds())


def test_every_provider_of_the_contract_has_a_folder() -> None:
    assert {name: kind.name for name, kind in kinds().items()} == {
        "STRIPE": "STRIPE",
        "CRYPTO": "CRYPTO",
        "WISE": "WISE",
    }
