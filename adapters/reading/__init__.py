"""Language models reading prompts that share a beginning, each token once."""
