"""What is to be seen of the server from outside: counts of everything, and one line of log for each call."""
