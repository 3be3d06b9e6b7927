"""HTTP in, HTTP out. No other room sees a request or builds a response."""
