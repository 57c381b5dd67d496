"""Work that outlives its request: the runner of jobs, who holds them, and periodic work. Knows ports only."""
