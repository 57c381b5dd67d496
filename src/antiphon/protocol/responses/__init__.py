"""The Responses API without I/O: requests to generations, deltas to events."""
