"""What PostgreSQL needs besides the tables: rights, row-level security, functions. As SQL, run after every migration.

Each file may run any number of times. They run in the order of their names, as the owner, in one transaction.
"""
