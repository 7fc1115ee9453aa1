"""ValueEval: human values behind arguments, as a plugin of lm-evaluation-harness."""

__version__ = "0.1.0"
