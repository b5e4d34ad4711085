"""The right part of memory at the right moment: choosing it, and writing it out for an agent."""
