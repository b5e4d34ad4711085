-- What the runtime role may do at all: reach the schema. It owns nothing and makes nothing there, not even a temporary
-- table, which could stand before one of ours. Rights to tables are given one by one at the end, in 90_tenants.sql.

REVOKE CREATE ON SCHEMA public FROM PUBLIC, :"runtime";
GRANT USAGE ON SCHEMA public TO :"runtime", :"definer";

DO $$
BEGIN
    EXECUTE format(
        'REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC, %I',
        current_database(), current_setting('claude_mem.runtime'));
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), current_setting('claude_mem.runtime'));
END
$$;
