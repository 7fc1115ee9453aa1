"""Collates runs into the rows of a leaderboard."""
