"""Adapter directories: the manifest, the base model, copies on the hub, ensembles."""
