"""Antiphon: the ChatGPT API on your own machine."""

__version__ = "0.1.0"
