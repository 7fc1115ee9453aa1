"""The manifest, the model card and the upload to the hub."""
