"""What the services share, one named module a concern."""
