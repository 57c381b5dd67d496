"""JSON Schemas and grammars of clients, worked on in a process of their own.

What clients send may be made to be slow, to fill the memory, or to overflow a library's stack (a long chain of `$ref`s
does), so none of it is compiled where requests are served.
"""
