"""Redis: what may be lost at any time, and what is counted over all replicas."""
