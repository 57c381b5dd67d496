"""Routes over several targets: which one is asked, what happens when it fails, and how long it may take."""
