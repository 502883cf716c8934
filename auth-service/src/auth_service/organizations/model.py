"""Limits and defaults of organizations."""

MAX_OWNED = 20
DEFAULT_FORMER_OWNER_ROLE = "manager"
