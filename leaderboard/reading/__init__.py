"""Reads results files, run files and predictions."""
