"""Code shared by the services, one module per concern."""
