"""Schemas over all keywords of JSON Schema, and a command that has the built-in model answer to each."""
