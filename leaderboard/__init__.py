"""Collation of results into a leaderboard (imports no torch)."""
