"""Edits campaigns, and keeps a campaign's hold in the ledger equal to its budget.

A budget change is stored with its idempotency key before the ledger is called, so a change that a crash interrupts is
completed by the campaign's next operation or by the job. A raise holds money before networks get the new budget. A
lower budget limits the networks first, then reads the spend that they report, and releases only the rest: a network can
never spend money that is not held, and delivered spend is never released.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from adlib.clock import Clock
from adlib.db import Database
from adlib.errors import InvalidField
from adlib.telemetry import logger
from campaign_service.campaigns import store
from campaign_service.campaigns.model import BudgetChange, Campaign, SpendChanged, State
from campaign_service.campaigns.service import CampaignWriter
from campaign_service.clients.payment import HoldRefused, Payments
from campaign_service.networks.protocol import NetworkRejected
from campaign_service.placements import store as placement_store
from campaign_service.placements.service import Placements
from campaign_service.spend import store as spend_store
from campaign_service.spend.service import SpendPoster, SpendRecorder

_log = logger(__name__)


class BudgetChanges:
    """Begins and completes changes of a hold and its budget. Callers hold the campaign's lock."""

    def __init__(
        self,
        db: Database,
        writer: CampaignWriter,
        payments: Payments,
        placements: Placements,
        recorder: SpendRecorder,
        clock: Clock,
    ) -> None:
        self._db = db
        self._writer = writer
        self._payments = payments
        self._placements = placements
        self._recorder = recorder
        self._clock = clock

    def check_may_spend(self, campaign: Campaign) -> int:
        """Raises ORGANIZATION_IN_DEBT unless the organization may spend; returns the held amount in micros."""
        return self._payments.held(campaign.organization_id, campaign.id, campaign.currency_code)

    def fund(self, campaign: Campaign) -> Campaign:
        """Holds the unspent budget of a PAUSED campaign whose hold has paid a debt.

        ORGANIZATION_IN_DEBT, INSUFFICIENT_FUNDS.
        """
        held_micros = self.check_may_spend(campaign)
        if campaign.hold_key:
            return campaign
        posted_micros = spend_store.spent(self._db, campaign.organization_id, campaign.id).posted_micros
        missing_micros = campaign.budget_micros - posted_micros - held_micros
        if missing_micros <= 0:
            return self._writer.apply(campaign, lambda one, now: one.starting(now))
        return self.complete(self.begin_repair(campaign, missing_micros))

    def begin_repair(self, campaign: Campaign, amount_micros: int) -> Campaign:
        """Stores that the hold is to grow by this amount, or to shrink where it is negative."""
        return self._writer.apply(campaign, lambda one, now: one.with_budget_change(amount_micros, now))

    def settle(self, campaign: Campaign) -> Campaign:
        """Completes or drops the change in progress, if there is one.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT where the repair of a hold is refused; that change stays in progress.
        """
        try:
            return self.complete(campaign)
        except (HoldRefused, NetworkRejected, InvalidField, SpendChanged) as refused:
            campaign = store.get_with_deleted(self._db, campaign.organization_id, campaign.id)
            if campaign.budget_change:
                raise
            _log.info("budget_change_dropped", campaign=str(campaign.id), why=refused.message)
            return campaign

    def complete(self, campaign: Campaign, fields: Mapping[str, Any] | None = None) -> Campaign:
        """Completes the change in progress, if there is one, and stores these fields with the new budget.

        INSUFFICIENT_FUNDS, ORGANIZATION_IN_DEBT, NETWORK_REJECTED; INVALID_FIELD, CONFLICT where more was delivered
        than the change would leave.
        """
        change = campaign.budget_change
        if change is None:
            return campaign
        refused = None
        if not change.is_reverting:
            try:
                self._apply(campaign, change)
            except (NetworkRejected, InvalidField, SpendChanged) as error:
                refused = error
                campaign = self._writer.apply(campaign, lambda one, now: one.reverting(now))
            else:
                return self._store_new_budget(campaign, fields or {})
        self._revert(campaign)
        campaign = self._writer.apply(campaign, lambda one, now: one.without_budget_change(now))
        if refused:
            raise refused
        return campaign

    def _apply(self, campaign: Campaign, change: BudgetChange) -> None:
        if change.hold_micros > 0:
            self._hold(campaign, change)
        if campaign.is_lowering:
            if not change.is_release_decided:
                self._limit_networks(campaign, change)
            if change.hold_micros < 0:
                self._release(campaign, change.key, -change.hold_micros)
        elif change.new_budget_micros is not None and campaign.state is not State.COMPLETED:
            self._placements.set_budget(self._placements.find(campaign), change.new_budget_micros)

    def _limit_networks(self, campaign: Campaign, change: BudgetChange) -> None:
        """Limits every network, then reads its figures, which decide the amount to release."""
        external_ids = self._placements.find(campaign)
        if campaign.state is State.COMPLETED:
            self._placements.stop(external_ids)
        else:
            self._placements.set_budget(external_ids, change.new_budget_micros or campaign.budget_micros)
        self._recorder.collect(campaign, external_ids)
        with self._db.transaction() as tx:
            locked = store.lock(tx, campaign.organization_id, campaign.id)
            spent = spend_store.spent(tx, campaign.organization_id, campaign.id)
            decided = locked.with_release_decided(spent.posted_micros, spent.requested_micros, self._clock.now())
            store.save(tx, decided)

    def _revert(self, campaign: Campaign) -> None:
        """Restores the old budget at the networks, and releases the amount that a raise has held."""
        external_ids = {} if campaign.state is State.COMPLETED else self._placements.find(campaign)
        for code, external_id in external_ids.items():
            self._restore_budget(campaign, code, external_id)
        change = campaign.budget_change
        if change is None or change.hold_micros <= 0:
            return
        if not change.is_release_decided:
            self._recorder.collect(campaign, external_ids)
            with self._db.transaction() as tx:
                locked = store.lock(tx, campaign.organization_id, campaign.id)
                spent = spend_store.spent(tx, campaign.organization_id, campaign.id)
                campaign = locked.with_revert_decided(spent.requested_micros, self._clock.now())
                store.save(tx, campaign)
        change = campaign.budget_change
        if change and change.hold_micros > 0:
            self._release(campaign, f"{change.key}:back", change.hold_micros)

    def _restore_budget(self, campaign: Campaign, code: str, external_id: str) -> None:
        """Restores the old budget at a network, if it accepts that.

        NETWORK_REJECTED where it refuses and still has the raised budget, whose hold then cannot be released.
        """
        try:
            self._placements.set_budget({code: external_id}, campaign.budget_micros)
        except NetworkRejected as refused:
            _log.warning("network_keeps_budget", campaign=str(campaign.id), why=refused.message)
            change = campaign.budget_change
            is_stopped = campaign.state is State.PAUSED and not campaign.is_resuming
            is_raise = change is not None and change.hold_micros > 0 and not is_stopped
            if is_raise and self._placements.network(code).budget_micros(external_id) > campaign.budget_micros:
                raise

    def _hold(self, campaign: Campaign, change: BudgetChange) -> None:
        try:
            self._payments.hold(
                campaign.organization_id, campaign.id, change.hold_micros, campaign.currency_code, change.key
            )
        except HoldRefused:
            # A refused raise or first hold is dropped. A refused repair of an existing hold stays, and is retried.
            if change.new_budget_micros is not None or campaign.hold_key is None:
                self._writer.apply(campaign, lambda one, now: one.without_budget_change(now))
            raise

    def _release(self, campaign: Campaign, key: str, amount_micros: int) -> None:
        self._payments.release(
            campaign.organization_id, campaign.id, campaign.currency_code, key, amount_micros=amount_micros
        )

    def _store_new_budget(self, campaign: Campaign, fields: Mapping[str, Any]) -> Campaign:
        now = self._clock.now()
        with self._db.transaction() as tx:
            changed = store.lock(tx, campaign.organization_id, campaign.id).with_budget_changed(now)
            if fields:
                changed = changed.edited(fields, "", at=now, is_published=True)
            return self._writer.save_and_publish(tx, changed)


class CampaignEditor:
    """Changes a campaign's fields."""

    def __init__(
        self, db: Database, writer: CampaignWriter, budgets: BudgetChanges, poster: SpendPoster, clock: Clock
    ) -> None:
        self._db = db
        self._writer = writer
        self._budgets = budgets
        self._poster = poster
        self._clock = clock

    def edit(self, organization_id: UUID, campaign_id: UUID, fields: Mapping[str, Any], etag: str) -> Campaign:
        """Changes all of these fields or none; a new budget also changes the hold and the networks.

        CAMPAIGN_NOT_FOUND, ETAG_MISMATCH, CAMPAIGN_FIELD_LOCKED, INVALID_FIELD, INSUFFICIENT_FUNDS,
        ORGANIZATION_IN_DEBT, NETWORK_REJECTED. After UNAVAILABLE, a repeat continues where the call stopped.
        """
        with self._db.transaction() as tx:
            campaign = store.lock(tx, organization_id, campaign_id)
            is_published = any(placement.external_id for placement in placement_store.of_campaign(tx, campaign))
            edited = campaign.edited(fields, etag, at=self._clock.now(), is_published=is_published)
            if not campaign.needs_budget_change(fields, is_published=is_published):
                return self._writer.save_and_publish(tx, edited)
        with self._writer.campaign_lock(organization_id, campaign_id) as campaign:
            campaign = self._budgets.settle(campaign)
            has_no_hold = campaign.state is State.PAUSED and campaign.hold_key is None
            if has_no_hold and fields["budget_micros"] > campaign.budget_micros:
                self._budgets.check_may_spend(campaign)
            campaign = self._begin_budget_change(campaign, fields, etag)
            if not campaign.is_lowering:
                return self._budgets.complete(campaign, fields)
            try:
                self._budgets.complete(campaign, fields)
            finally:
                # The spend that the networks reported is charged even where the change is refused.
                self._poster.try_to_post(organization_id, campaign_id)
            return store.get(self._db, organization_id, campaign_id)

    def _begin_budget_change(self, campaign: Campaign, fields: Mapping[str, Any], etag: str) -> Campaign:
        with self._db.transaction() as tx:
            campaign = store.lock(tx, campaign.organization_id, campaign.id)
            now = self._clock.now()
            edited = campaign.edited(fields, etag, at=now, is_published=True)
            spent = spend_store.spent(tx, campaign.organization_id, campaign.id)
            edited.check_budget_covers(spent.requested_micros)
            hold_micros = edited.budget_micros - campaign.budget_micros if campaign.hold_key else 0
            campaign = campaign.with_budget_change(hold_micros, now, new_budget_micros=edited.budget_micros)
            store.save(tx, campaign)
            return campaign
