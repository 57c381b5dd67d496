"""What is shut down: saying so, and counting who still uses it."""
