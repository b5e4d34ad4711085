#!/bin/bash
# Run once by the PostgreSQL image, as its superuser, on an empty volume: roles, the database, pgvector. What each role
# may do is what `claude-mem db roles` prints; tables and rights come with `claude-mem db upgrade`.
set -euo pipefail

# Passwords are read by psql from the files themselves: on a command line they could be seen.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/owner_password`
\set runtime_password `cat /run/secrets/runtime_password`
CREATE ROLE claude_mem_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE claude_mem LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT PASSWORD :'runtime_password';
CREATE ROLE claude_mem_owner_definer NOLOGIN BYPASSRLS;
GRANT claude_mem_owner_definer TO claude_mem_owner;
CREATE DATABASE claude_mem OWNER claude_mem_owner;
REVOKE ALL ON DATABASE claude_mem FROM PUBLIC;
\connect claude_mem
ALTER SCHEMA public OWNER TO claude_mem_owner;
CREATE EXTENSION IF NOT EXISTS vector;
SQL
