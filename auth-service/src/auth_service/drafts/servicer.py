"""DraftService over gRPC."""

from datetime import UTC

from adplatform.auth.v1 import personal_pb2 as pb

from adlib.clock import timestamp
from adlib.rpc import Call
from auth_service.drafts.model import Draft
from auth_service.drafts.service import DraftService
from auth_service.json_text import struct_of, text_of


class DraftServicer:
    """DraftService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["DraftService"]

    def __init__(self, drafts: DraftService) -> None:
        self._drafts = drafts

    def PutDraft(self, request: pb.PutDraftRequest, call: Call) -> pb.Draft:
        expires_at = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        data = text_of(request.data, "data")
        return _draft(self._drafts.put(call.caller.user_id, request.draft_id, data, expires_at))

    def GetDraft(self, request: pb.GetDraftRequest, call: Call) -> pb.Draft:
        return _draft(self._drafts.get(call.caller.user_id, request.draft_id))

    def DeleteDraft(self, request: pb.DeleteDraftRequest, call: Call) -> pb.DeleteDraftResponse:
        self._drafts.delete(call.caller.user_id, request.draft_id)
        return pb.DeleteDraftResponse()


def _draft(draft: Draft) -> pb.Draft:
    return pb.Draft(
        id=draft.id,
        data=struct_of(draft.data),
        expire_time=timestamp(draft.expires_at),
        update_time=timestamp(draft.updated_at),
    )
