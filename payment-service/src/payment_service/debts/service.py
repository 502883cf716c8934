"""Puts publishers' earnings from organizations in debt on hold, and announces changes of debts.

A transaction that changes a debt marks it; another transaction settles the mark, so that booking a dispute or a deposit
does not wait for publishers' accounts. Payouts are reserved and sent only after all marks are settled.
"""

from uuid import UUID

from adplatform.events.v1.events_pb2 import DebtChanged

from adlib.db import Database, Session, Transaction
from adlib.ids import NewId
from adlib.outbox import Outbox
from adlib.telemetry import logger
from payment_service.debts import store
from payment_service.debts.model import Debtor, Earnings, EarningsOnHold, spent
from payment_service.ledger import store as ledger
from payment_service.ledger.model import Wallet, payable

_MAX_BATCH = 100

_log = logger(__name__)


class DebtService:
    """The use cases of debts."""

    def __init__(self, db: Database, outbox: Outbox, ids: NewId) -> None:
        self._db = db
        self._outbox = outbox
        self._ids = ids

    def settle_marked(self) -> int:
        """Settles up to 100 marked debts and returns how many; a debt that fails stays marked."""
        settled = 0
        for organization_id, currency_code in store.marked_any_tenant(self._db, _MAX_BATCH):
            try:
                self.settle(organization_id, currency_code)
                settled += 1
            except Exception:  # noqa: BLE001 - one failing debt must not block the others, or all payouts
                _log.error("debt_not_settled", organization=str(organization_id), exc_info=True)
        return settled

    def settle(self, organization_id: UUID, currency_code: str) -> None:
        """Adjusts the earnings on hold to the organization's debt, and announces the debt. A repeat changes nothing."""
        with self._db.transaction() as tx:
            version = store.version(tx, organization_id, currency_code)
            if version is None:
                return
            planned = self._debtor(tx, organization_id, currency_code)
            sides = {
                side
                for id, change in planned.changes.items()
                for one in [planned.transfer(id, change, "")]
                for side in (one.debit, one.credit)
            }
            # Posting spend locks the SPENT account too, so all spend is either visible here or marks the debt again.
            ledger.lock(tx, {spent(organization_id, currency_code), *sides})
            if store.version(tx, organization_id, currency_code) is None:
                return
            debtor = self._debtor(tx, organization_id, currency_code)
            changes = {id: change for id, change in debtor.changes.items() if id in planned.changes}
            posted = [
                debtor.transfer(id, change, f"earnings:{self._ids()}")
                for id, change in changes.items()
                if (change < 0) == (planned.changes[id] < 0)
            ]
            ledger.post(tx, posted, self._ids)
            if len(posted) == len(debtor.changes):
                store.clear_mark(tx, organization_id, currency_code, version)
            event = DebtChanged(currency_code=currency_code, debt_micros=debtor.debt_micros)
            self._outbox.append(tx, organization_id, event)
        _log.info("debt_settled", organization=str(organization_id), debt_micros=debtor.debt_micros, moved=len(posted))

    def check_payable(
        self, tx: Transaction, organization_id: UUID, publisher_id: UUID, amount_micros: int, currency_code: str
    ) -> None:
        """EARNINGS_ON_HOLD if paying out the reserved amount would leave less unpaid than has to be on hold."""
        account = payable(organization_id, publisher_id, currency_code)
        waiting_micros = store.reserved(tx, publisher_id, currency_code) - amount_micros
        rest_micros = ledger.available(tx, [account])[account] + waiting_micros
        missing_micros = sum(self._missing(tx, organization_id, publisher_id, currency_code).values())
        if missing_micros > rest_micros:
            raise EarningsOnHold(missing_micros - rest_micros, currency_code)

    def mark_debtors(self, tx: Transaction, organization_id: UUID, publisher_id: UUID, currency_code: str) -> None:
        """Marks the debts that can now hold more of the publisher's earnings, after a payout has released them."""
        missing = self._missing(tx, organization_id, publisher_id, currency_code)
        ledger.mark_debts(tx, {(debtor, currency_code) for debtor in missing})

    def _debtor(self, db: Session, organization_id: UUID, currency_code: str) -> Debtor:
        wallet = Wallet(organization_id, currency_code)
        debt_micros = -ledger.available(db, [wallet.debt])[wallet.debt]
        held_micros = store.held_from(db, organization_id, currency_code)
        if debt_micros == held_micros:
            return Debtor(organization_id, currency_code, debt_micros)
        source = spent(organization_id, currency_code)
        accounts = store.earners(db, source)
        available = ledger.available(db, accounts.values())
        earnings: dict[UUID, Earnings] = {}
        for publisher_id, account in accounts.items():
            total_micros, own_micros = store.on_hold(db, publisher_id, currency_code, organization_id)
            unpaid_micros = 0
            if available[account] and debt_micros > held_micros:
                by_source = store.unpaid_by_source(db, account, available[account] + total_micros)
                unpaid_micros = by_source.get(source.id, 0)
            if own_micros or unpaid_micros:
                earnings[publisher_id] = Earnings(account, own_micros, unpaid_micros, available[account])
        return Debtor(organization_id, currency_code, debt_micros, earnings)

    @staticmethod
    def _missing(db: Session, organization_id: UUID, publisher_id: UUID, currency_code: str) -> dict[UUID, int]:
        """By organization in debt, the publisher's unpaid earnings from it that still have to be put on hold."""
        account = payable(organization_id, publisher_id, currency_code)
        total_micros, _ = store.on_hold(db, publisher_id, currency_code, organization_id)
        unpaid_micros = ledger.available(db, [account])[account] + total_micros
        unpaid_micros += store.reserved(db, publisher_id, currency_code)
        by_source = store.unpaid_by_source(db, account, unpaid_micros)
        owners = store.owners_any_tenant(db, list(by_source))
        wallets = {source: Wallet(owner, currency_code) for source, owner in owners.items()}
        debts = ledger.available(db, [wallet.debt for wallet in wallets.values()])
        missing: dict[UUID, int] = {}
        for source, wallet in wallets.items():
            debtor = wallet.organization_id
            if not debts[wallet.debt]:
                continue
            _, own_micros = store.on_hold(db, publisher_id, currency_code, debtor)
            others_micros = store.held_from(db, debtor, currency_code) - own_micros
            target_micros = min(by_source[source], -debts[wallet.debt] - others_micros)
            if target_micros > own_micros:
                missing[debtor] = target_micros - own_micros
        return missing
