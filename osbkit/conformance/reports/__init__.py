"""A finished run, told: text for a terminal, JSON, JUnit and one HTML file."""
