"""Scores and their uncertainty; run files."""
