"""What should happen: decisions, and the units of work that record them."""
