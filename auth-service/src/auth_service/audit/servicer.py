"""AuditService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import audit_pb2 as pb
from adplatform.events.v1.events_pb2 import AuditRecorded

from adlib.clock import instant, timestamp
from adlib.rpc import Call
from auth_service.audit.model import Filter, LogRow
from auth_service.audit.service import AuditService


class AuditServicer:
    """AuditService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["AuditService"]

    def __init__(self, audit: AuditService) -> None:
        self._audit = audit

    def ListAuditLogs(self, request: pb.ListAuditLogsRequest, call: Call) -> pb.ListAuditLogsResponse:
        filter = Filter(
            user_id=UUID(request.user_id) if request.user_id else None,
            action=request.action or None,
            start=instant(request.start_time) if request.HasField("start_time") else None,
            end=instant(request.end_time) if request.HasField("end_time") else None,
        )
        page = call.page(request)
        found = self._audit.list_page(call.caller.organization_id, page, filter)
        return pb.ListAuditLogsResponse(
            audit_logs=[_audit_log(row) for row in found.rows], next_page_token=found.next_page_token
        )

    def VerifyAuditLogs(self, request: pb.VerifyAuditLogsRequest, call: Call) -> pb.VerifyAuditLogsResponse:
        verified = self._audit.verify(call.caller.organization_id, request.start_sequence)
        return pb.VerifyAuditLogsResponse(
            intact=not verified.broken_sequence,
            verified_count=verified.count,
            broken_sequence=verified.broken_sequence,
            next_sequence=verified.next_sequence,
            last_hash=verified.last_hash.hex(),
        )


def _audit_log(row: LogRow) -> pb.AuditLog:
    entry = row.entry
    return pb.AuditLog(
        id=str(entry.id),
        time=timestamp(entry.time),
        actor=AuditRecorded.Actor.Value(entry.actor),
        user_id=str(entry.user_id or ""),
        api_key_id=str(entry.api_key_id or ""),
        service=entry.service,
        action=entry.action,
        resource=entry.resource,
        outcome=entry.outcome,
        reason=entry.reason,
        request_id=entry.request_id,
        address=entry.address,
        sequence=row.sequence,
        hash=row.hash.hex(),
    )
