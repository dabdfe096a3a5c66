"""One suite for every client: each scenario is written once, and runs against a real node."""
