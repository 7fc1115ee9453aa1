"""The commands ``valueeval leaderboard``, ``compare`` and ``archive``."""
