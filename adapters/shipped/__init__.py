"""The adapter that ships with the package."""
