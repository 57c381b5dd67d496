"""The administration: who may change what, and which values are taken."""
