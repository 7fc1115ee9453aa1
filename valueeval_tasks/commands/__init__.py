"""The commands ``valueeval data``, ``score`` and ``export``."""
