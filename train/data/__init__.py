"""Training data: inputs, their order, folds and subsets."""
