"""Intervals and tests for the rows of a leaderboard."""
