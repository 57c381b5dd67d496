"""Local models: the catalog of those known by name, and how their files get here."""
