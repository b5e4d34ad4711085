"""Standard library only, no I/O: ids, clock, errors, scope, masking."""
