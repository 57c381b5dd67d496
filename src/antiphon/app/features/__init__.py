"""The server's capabilities, one file each. `compose.FEATURES` puts them in order."""
