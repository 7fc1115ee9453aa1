"""``valueeval prompt``: ask a language model by template, in one or two turns."""
