"""The machine: processes, memory, compilation, dropout and progress."""
