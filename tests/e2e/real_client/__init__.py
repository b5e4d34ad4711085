"""Driving the real Claude Code client against a scripted model, cut off from every network."""
