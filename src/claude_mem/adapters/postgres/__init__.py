"""PostgreSQL: database, queue, lexical index; tenants are kept apart by row-level security."""
