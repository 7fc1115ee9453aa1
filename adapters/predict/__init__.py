"""``valueeval predict``: labels a table of arguments."""
