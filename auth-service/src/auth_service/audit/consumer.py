"""Stores the services' audit events in the audit logs."""

from collections.abc import Sequence
from uuid import UUID

from adplatform.events.v1.events_pb2 import AuditRecorded, Event

from adlib.clock import instant
from auth_service.audit.model import Entry
from auth_service.audit.service import AuditService


class AuditHandler:
    """Handles the topic `audit`."""

    def __init__(self, audit: AuditService) -> None:
        self._audit = audit

    def __call__(self, payloads: Sequence[bytes]) -> None:
        """Stores a batch of events, each once."""
        events = [Event.FromString(payload) for payload in payloads]
        self._audit.add(
            [(UUID(event.organization_id), _entry(event)) for event in events if event.HasField("audit_recorded")]
        )


def _entry(event: Event) -> Entry:
    record = event.audit_recorded
    return Entry(
        id=UUID(event.id),
        time=instant(event.time),
        actor=AuditRecorded.Actor.Name(record.actor),
        user_id=UUID(record.user_id) if record.user_id else None,
        api_key_id=UUID(record.api_key_id) if record.api_key_id else None,
        service=record.service,
        action=record.action,
        resource=record.resource,
        outcome=record.outcome,
        reason=record.reason,
        request_id=event.request_id,
        address=record.address,
    )
