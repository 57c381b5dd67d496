"""Rate limits, and the counters that they are kept with."""
