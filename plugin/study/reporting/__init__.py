"""What a study found: measured cells, hypotheses, the report and its figures, the archive."""
