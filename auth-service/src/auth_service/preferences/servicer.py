"""PreferencesService over gRPC."""

from adplatform.auth.v1 import personal_pb2 as pb

from adlib.rpc import Call
from auth_service.json_text import struct_of, text_of
from auth_service.preferences.model import Preferences
from auth_service.preferences.service import PreferenceService


class PreferencesServicer:
    """PreferencesService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["PreferencesService"]

    def __init__(self, preferences: PreferenceService) -> None:
        self._preferences = preferences

    def GetPreferences(self, _request: pb.GetPreferencesRequest, call: Call) -> pb.Preferences:
        return _preferences(self._preferences.get(call.caller.user_id))

    def PutPreferences(self, request: pb.PutPreferencesRequest, call: Call) -> pb.Preferences:
        layout = text_of(request.dashboard_layout, "dashboardLayout") if request.HasField("dashboard_layout") else ""
        preferences = Preferences(
            theme=pb.Preferences.Theme.Name(request.theme or pb.Preferences.SYSTEM),
            language=request.language or Preferences().language,
            notifications=request.notifications if request.HasField("notifications") else Preferences().notifications,
            dashboard_layout=layout,
        )
        return _preferences(self._preferences.put(call.caller.user_id, preferences))


def _preferences(preferences: Preferences) -> pb.Preferences:
    layout = preferences.dashboard_layout
    return pb.Preferences(
        theme=pb.Preferences.Theme.Value(preferences.theme),
        language=preferences.language,
        notifications=preferences.notifications,
        dashboard_layout=struct_of(layout) if layout else None,
    )
