"""Run the cells of a study: workers, what fits beside each other, jobs on a cluster."""
