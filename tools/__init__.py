"""Programs of the repository: they make what is committed and are no part of the product."""
