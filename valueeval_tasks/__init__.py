"""Data, tasks, templates and scores of ValueEval (imports no torch and nothing else of ours)."""
