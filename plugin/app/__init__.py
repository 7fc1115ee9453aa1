"""``valueeval app``: a page on this machine to try a model in."""
