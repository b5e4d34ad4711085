"""One folder an engine; adapters know ports, never domains or each other."""
