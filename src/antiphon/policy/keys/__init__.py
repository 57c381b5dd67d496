"""Keys: what they may do, when they were used, and how they are replaced."""
