"""How well search finds: the shipped product, asked through its public API, on question sets with known answers."""
