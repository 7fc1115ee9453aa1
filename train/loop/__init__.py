"""The training loop: steps, evaluation, thresholds and logs."""
