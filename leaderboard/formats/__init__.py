"""Writes the leaderboard as markdown, CSV, LaTeX, JSON and exchange formats."""
