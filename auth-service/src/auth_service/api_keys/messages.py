"""Notifications about API keys."""

from adplatform.events.v1.events_pb2 import UserNotified

from auth_service.api_keys.model import ApiKey


def api_key_created(key: ApiKey, organization_name: str) -> UserNotified:
    """An API key was created in the user's name."""
    return UserNotified(
        user_id=str(key.user_id),
        kind=UserNotified.API_KEY_CREATED,
        title=f"An API key was made in your name in {organization_name}",
        body=f"It is called {key.name} and begins with {key.prefix}. If that was not you, revoke it.",
    )
