"""Cached answers: what is equal, what is given again, and what several calls share."""
