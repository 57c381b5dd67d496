"""Chat Completions without I/O: requests to generations, deltas to chunks."""
