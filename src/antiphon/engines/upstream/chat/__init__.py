"""The Chat Completions API as upstreams speak it: one dialect of `engines.upstream`."""
