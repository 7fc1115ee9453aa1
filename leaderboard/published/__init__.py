"""Published systems, with their sources."""
