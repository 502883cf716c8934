"""Suspends the campaigns of organizations in debt, so that their holds pay the debt."""

from uuid import UUID

from adlib.db import Database
from adlib.errors import Aborted, AppError, Unavailable
from adlib.telemetry import logger
from campaign_service.clients.payment import OrganizationInDebt, Payments
from campaign_service.deadlines import time_limit
from campaign_service.debts import store
from campaign_service.lifecycle.service import CampaignLifecycle

_CAMPAIGN_TIMEOUT_S = 10.0

_log = logger(__name__)


class DebtService:
    """Suspends campaigns."""

    def __init__(self, db: Database, lifecycle: CampaignLifecycle, payments: Payments) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._payments = payments

    def suspend(self, organization_id: UUID, currency_code: str) -> None:
        """Suspends the organization's campaigns in the currency if it is still in debt.

        A campaign that cannot be suspended now stays marked, and the job suspends it. UNAVAILABLE where
        payment-service does not answer, or where another call is changing a campaign, so that the event is redelivered.
        """
        if not self._is_in_debt(organization_id, currency_code):
            return
        with self._db.transaction() as tx:
            marked = store.mark_for_suspension(tx, organization_id, currency_code)
        is_any_locked = False
        for campaign_id in marked:
            try:
                with time_limit(_CAMPAIGN_TIMEOUT_S, replaces=True):
                    self._lifecycle.suspend(organization_id, campaign_id)
            except Aborted:
                is_any_locked = True
            except AppError as error:
                _log.warning("campaign_suspension_deferred", campaign=str(campaign_id), why=error.message)
        if is_any_locked:
            raise Unavailable("another call is changing a campaign that has to be suspended")

    def _is_in_debt(self, organization_id: UUID, currency_code: str) -> bool:
        """Asks the ledger, since events may be late or repeated."""
        with time_limit(_CAMPAIGN_TIMEOUT_S, replaces=True):
            try:
                # No campaign has this id; the ledger refuses by the organization alone.
                self._payments.held(organization_id, organization_id, currency_code)
            except OrganizationInDebt:
                return True
        return False
