"""The checks: one module per section of the specification, found by themselves."""
