"""What an organization that owes money has running is paused, and what is held for it pays the debt."""

from uuid import UUID

from adlib.db import Database
from adlib.errors import Aborted, AppError, Unavailable
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.lifecycle import Lifecycle
from campaign_service.clients.payment import OrganizationInDebt, Payments
from campaign_service.deadlines import within

_CAMPAIGN_S = 10.0

_log = logger(__name__)


class DebtService:
    """The use case of debts."""

    def __init__(self, db: Database, lifecycle: Lifecycle, payments: Payments) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._payments = payments

    def suspend(self, organization_id: UUID, currency_code: str) -> None:
        """Pauses its campaigns in the currency, if it still owes any; what fails is marked, and the job's to end.

        UNAVAILABLE where payment-service does not answer, or where a campaign is busy, which is over in a moment.
        """
        if not self._owes(organization_id, currency_code):
            return
        with self._db.transaction() as tx:
            marked = store.begin_suspending(tx, organization_id, currency_code)
        busy = False
        for campaign_id in marked:
            try:
                with within(_CAMPAIGN_S, own=True):
                    self._lifecycle.suspend(organization_id, campaign_id)
            except Aborted:
                busy = True
            except AppError as error:
                _log.warning("campaign_suspended_later", campaign=str(campaign_id), why=error.message)
        if busy:
            raise Unavailable("a campaign that is to be paused is busy")

    def _owes(self, organization_id: UUID, currency_code: str) -> bool:
        """Whether it does now: an event comes late, and again."""
        with within(_CAMPAIGN_S, own=True):
            try:
                # Of no campaign: the answer is about the organization.
                self._payments.held(organization_id, organization_id, currency_code)
            except OrganizationInDebt:
                return True
        return False
