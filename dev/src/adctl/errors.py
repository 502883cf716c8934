"""Failures that a person can act on."""


class UserError(Exception):
    """The text says what failed and what to do; the command prints it and ends with exit code 1."""
