"""Files of a run: checkpoints, metrics and the output directory."""
