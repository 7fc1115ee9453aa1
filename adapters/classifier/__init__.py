"""Pretrained models with a classification head: built, loaded and run."""
