"""What is installed, and what the distributions hold."""
