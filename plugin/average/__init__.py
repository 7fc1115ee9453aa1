"""``valueeval average``: several adapters as one, from results that are there already."""
