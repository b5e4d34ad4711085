"""Bringing a developer's own store into an enterprise of a PostgreSQL database.

A store is read in ranges of keys, each range is made into what the target holds (`convert`), and what the target does
not hold yet, by a hash kept beside the rows, is sent (`target`), in one transaction a range. So the first run, one that
goes on after a kill, and one that brings only what is new are the same run. Must never write to the store.
"""
