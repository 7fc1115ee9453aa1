"""Templates: wordings, and how answers are read and decided."""
