"""The options of ``valueeval train``."""
