"""The gateway against a bare pass-through and its peers: `python -m bench.gateway`."""
