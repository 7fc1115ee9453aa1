"""The harness models: adapters and language models behind the interface of lm-eval."""
