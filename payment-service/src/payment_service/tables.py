"""payment-service's tables, for its stores."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, LargeBinary, MetaData, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
_time = DateTime(timezone=True)

accounts = Table(
    "accounts", metadata,
    Column("id", Uuid), Column("kind", Text), Column("organization_id", Uuid), Column("subject", Text),
    Column("currency_code", Text), Column("debits_micros", BigInteger), Column("credits_micros", BigInteger),
    Column("balance_micros", BigInteger), Column("debits_pending_micros", BigInteger),
    Column("credits_pending_micros", BigInteger),
)  # fmt: skip
transfers = Table(
    "transfers", metadata,
    Column("id", Uuid), Column("debit_account_id", Uuid), Column("credit_account_id", Uuid),
    Column("amount_micros", BigInteger), Column("currency_code", Text), Column("kind", Text), Column("reference", Uuid),
    Column("idempotency_key", Text), Column("phase", Text), Column("pending_id", Uuid),
    Column("freed_micros", BigInteger), Column("expires_at", _time),
)  # fmt: skip
# PENDING transfers that have not ended, maintained by a trigger.
pendings = Table("pendings", metadata, Column("transfer_id", Uuid), Column("expires_at", _time))
debt_changes = Table(
    "debt_changes", metadata,
    Column("organization_id", Uuid), Column("currency_code", Text), Column("version", BigInteger),
)  # fmt: skip
spends = Table(
    "spends", metadata,
    Column("escrow_id", Uuid), Column("idempotency_key", Text), Column("asked_micros", BigInteger),
    Column("posted_micros", BigInteger), Column("content_hash", LargeBinary),
)  # fmt: skip
payments = Table(
    "payments", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("provider", Text), Column("state", Text),
    Column("amount_micros", BigInteger), Column("currency_code", Text), Column("idempotency_key", Text),
    Column("external_id", Text), Column("failure_message", Text), Column("created_at", _time),
    Column("updated_at", _time), Column("checked_at", _time), Column("pending_reason", Text),
    Column("paid_micros", BigInteger), Column("refunded_micros", BigInteger), Column("disputed_micros", BigInteger),
    Column("outcome", Text), Column("is_closed", Boolean), Column("expires_at", _time), Column("choice", JSONB),
    Column("instructions", JSONB),
)  # fmt: skip
deposits = Table(
    "deposits", metadata,
    Column("id", Uuid), Column("provider", Text), Column("external_key", Text), Column("payment_id", Uuid),
    Column("organization_id", Uuid), Column("state", Text), Column("amount_micros", BigInteger),
    Column("currency_code", Text), Column("asset", Text), Column("asset_amount", Numeric), Column("rate", Numeric),
    Column("detail", JSONB), Column("reversals", BigInteger), Column("created_at", _time), Column("updated_at", _time),
    Column("sent_for_payment_id", Uuid), Column("sent_for_organization_id", Uuid),
    Column("recalled_micros", BigInteger),
)  # fmt: skip
deposit_recalls = Table(
    "deposit_recalls", metadata,
    Column("deposit_id", Uuid), Column("line_key", Text), Column("amount_micros", BigInteger),
    Column("booked_at", _time),
)  # fmt: skip
refunds = Table(
    "refunds", metadata,
    Column("id", Uuid), Column("payment_id", Uuid), Column("organization_id", Uuid), Column("provider", Text),
    Column("amount_micros", BigInteger), Column("currency_code", Text), Column("state", Text),
    Column("external_id", Text), Column("reason", Text), Column("sent_as", Text), Column("asked_by", Uuid),
    Column("pending_reason", Text), Column("failure_message", Text), Column("created_at", _time),
    Column("updated_at", _time), Column("returned_micros", BigInteger), Column("reversals", BigInteger),
    Column("followed_until", _time), Column("ask_at", _time),
)  # fmt: skip
refund_requests = Table(
    "refund_requests", metadata,
    Column("id", Uuid), Column("payment_id", Uuid), Column("organization_id", Uuid),
    Column("amount_micros", BigInteger), Column("currency_code", Text), Column("state", Text), Column("reason", Text),
    Column("decline_reason", Text), Column("refund_id", Uuid), Column("asked_by", Uuid), Column("created_at", _time),
    Column("updated_at", _time),
)  # fmt: skip
disputes = Table(
    "disputes", metadata,
    Column("id", Uuid), Column("provider", Text), Column("external_id", Text), Column("payment_id", Uuid),
    Column("organization_id", Uuid), Column("amount_micros", BigInteger), Column("frozen_micros", BigInteger),
    Column("currency_code", Text), Column("state", Text), Column("reason", Text), Column("fee_micros", BigInteger),
    Column("created_at", _time), Column("updated_at", _time),
)  # fmt: skip
receipts = Table(
    "receipts", metadata,
    Column("organization_id", Uuid), Column("number", BigInteger), Column("payment_id", Uuid),
    Column("issued_at", _time),
)  # fmt: skip
receipt_counters = Table(
    "receipt_counters", metadata, Column("organization_id", Uuid), Column("last_number", BigInteger)
)
bank_references = Table(
    "bank_references", metadata,
    Column("reference", Text), Column("payment_id", Uuid), Column("organization_id", Uuid), Column("created_at", _time),
)  # fmt: skip
bank_refunds = Table("bank_refunds", metadata, Column("transfer_id", Text), Column("refund_id", Uuid))
webhook_events = Table(
    "webhook_events", metadata,
    Column("provider", Text), Column("event_id", Text), Column("kind", Text), Column("payload", LargeBinary),
    Column("received_at", _time), Column("booked_at", _time), Column("tried_at", _time),
)  # fmt: skip
webhook_cursors = Table("webhook_cursors", metadata, Column("provider", Text), Column("read_until", _time))
failing_items = Table(
    "failing_items", metadata,
    Column("id", Uuid), Column("kind", Text), Column("provider", Text), Column("subject", Text),
    Column("failure_count", BigInteger), Column("last_error", Text), Column("error_reason", Text),
    Column("first_failed_at", _time), Column("last_failed_at", _time), Column("quarantined_at", _time),
    Column("discarded_at", _time), Column("discard_reason", Text),
)  # fmt: skip
payouts = Table(
    "payouts", metadata,
    Column("id", Uuid), Column("organization_id", Uuid), Column("publisher_id", Uuid),
    Column("amount_micros", BigInteger), Column("currency_code", Text), Column("state", Text),
    Column("destination", JSONB), Column("recipient_id", Text), Column("quote_id", Text), Column("transfer_id", Text),
    Column("failure_reason", Text), Column("attempts", BigInteger), Column("next_attempt_at", _time),
    Column("created_at", _time), Column("updated_at", _time), Column("returned_micros", BigInteger),
)  # fmt: skip
crypto_addresses = Table(
    "crypto_addresses", metadata,
    Column("payment_id", Uuid), Column("organization_id", Uuid), Column("number", BigInteger), Column("address", Text),
    Column("chain_id", BigInteger), Column("coin", Text), Column("currency_code", Text), Column("rate", Numeric),
    Column("expires_at", _time), Column("created_at", _time), Column("made_number", BigInteger),
    Column("searched_number", BigInteger),
)  # fmt: skip
crypto_chains = Table(
    "crypto_chains", metadata,
    Column("chain_id", BigInteger), Column("read_number", BigInteger), Column("confirmed_number", BigInteger),
    Column("halted_reason", Text), Column("updated_at", _time), Column("current_at", _time), Column("head_at", _time),
    Column("fault", Text),
)  # fmt: skip
crypto_blocks = Table(
    "crypto_blocks", metadata, Column("chain_id", BigInteger), Column("number", BigInteger), Column("hash", Text)
)
crypto_transfers = Table(
    "crypto_transfers", metadata,
    Column("key", Text), Column("chain_id", BigInteger), Column("block_number", BigInteger),
    Column("transaction_hash", Text), Column("payment_id", Uuid), Column("address", Text), Column("coin", Text),
    Column("amount", Numeric), Column("rate", Numeric), Column("currency_code", Text),
    Column("amount_micros", BigInteger), Column("state", Text), Column("shown_confirmations", BigInteger),
    Column("seen_at", _time),
)  # fmt: skip
crypto_refunds = Table(
    "crypto_refunds", metadata,
    Column("chain_id", BigInteger), Column("transaction_hash", Text), Column("refund_id", Uuid),
    Column("block_number", BigInteger),
)  # fmt: skip
