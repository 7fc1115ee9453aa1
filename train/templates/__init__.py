"""Language models trained to answer a template."""
