"""Mutants of the reference broker: one module per section, found by themselves."""
