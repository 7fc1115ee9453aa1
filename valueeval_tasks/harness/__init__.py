"""The lm-eval tasks: documents, requests, few-shot examples and logged samples."""
