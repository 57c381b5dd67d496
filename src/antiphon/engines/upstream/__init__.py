"""Servers behind this one: spoken to over HTTP, in the API they know.

`client` is the way to all of them; what they say wrong is one of the errors of `errors`.
"""
