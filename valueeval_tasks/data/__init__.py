"""The dataset: reading, fetching, verifying and describing it."""
