"""``valueeval study``: a comparison of many trainings and prompts, from one file to one report."""
