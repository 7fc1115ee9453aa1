"""Adapter directories and the harness models that load them."""
