"""The device, batch sizes and running out of memory."""
