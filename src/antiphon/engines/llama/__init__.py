"""The built-in engine: GGUF models in a supervised child process around xllamacpp.

`engine.LlamaEngine` is the door. Nothing is imported here: the child runs from this package and must stay small.
"""
