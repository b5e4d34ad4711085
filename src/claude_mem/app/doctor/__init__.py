"""The doctor: what can be wrong with an installation, looked at one thing after the other, each with its way out."""
