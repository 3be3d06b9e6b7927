"""The engine: one recorded piece of work, run at once or later by one function."""
