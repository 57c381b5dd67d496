"""The Responses API as upstreams speak it: one dialect of `engines.upstream`."""
