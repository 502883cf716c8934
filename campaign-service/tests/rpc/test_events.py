"""From a call to the live document, through the outbox and the bus."""

from typing import Any

from adlib.documents import PostgresDocuments
from adlib.rpc import ServiceProcess
from adtesting import eventually, running
from campaign_service.stats.model import Figures

Client = Any  # conftest's, which cannot be imported


def test_live_document_follows_the_campaign(client: Client, worker: ServiceProcess, db: Any, outside: Any) -> None:
    documents = PostgresDocuments(db)
    with running(worker):
        campaign = client.create()

        def document() -> Any:
            return documents.get("realtime_campaigns", campaign.id)

        assert eventually(document)["state"] == "DRAFT"
        client.start(campaign.id)
        assert eventually(lambda: document()["state"] == "ACTIVE")
        figures = Figures(impressions=10, clicks=2, conversions=1, spend_micros=500)
        outside.network.report(client.external_id(campaign.id), outside.clock.now().date(), "", figures)
        client.sync()
        client.pause(campaign.id)
        stored = eventually(lambda: document() if document()["state"] == "PAUSED" else None)
        client.delete(campaign.id)
        assert eventually(lambda: document() if "deletedAt" in document() else None)["state"] == "COMPLETED"
    assert (stored["impressions"], stored["clicks"], stored["conversions"], stored["spentMicros"]) == (10, 2, 1, 500)
    assert (stored["organizationId"], stored["stateReasons"]) == (str(client.organization_id), ["USER"])
