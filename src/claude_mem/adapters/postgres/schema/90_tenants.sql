-- Tenants are kept apart here, by the database itself: whatever a query forgets, it gets rows of one tenant or none.
--
-- Last of all, so that tables and views which the files before made are covered. Deny by default: a table without a tenant
-- gives the runtime role nothing, and TRUNCATE, which asks no policy, is never given.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, :"runtime";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, :"runtime";
GRANT SELECT ON schema_info, alembic_version TO :"runtime";

DO $$
DECLARE
    runtime CONSTANT text := current_setting('claude_mem.runtime');
    -- As PostgreSQL writes it back, so that a table that has it already is left alone: a policy's making locks its table.
    same CONSTANT text := '(%s = (NULLIF(current_setting(''app.current_enterprise_id''::text, true), ''''::text))::uuid)';
    owned record;
    own_rows text;
BEGIN
    FOR owned IN
        SELECT c.oid, c.oid::regclass AS name, c.relrowsecurity AND c.relforcerowsecurity AS guarded, a.attname AS key,
               c.relispartition AS is_part
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
             AND a.attname = CASE c.relname WHEN 'enterprises' THEN 'id' ELSE 'enterprise_id' END
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        ORDER BY c.oid
    LOOP
        IF NOT owned.guarded THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', owned.name);
        END IF;
        own_rows := format(same, owned.key);
        IF NOT EXISTS (
            SELECT FROM pg_catalog.pg_policy p
            WHERE p.polrelid = owned.oid AND p.polname = 'tenant' AND p.polcmd = '*' AND p.polpermissive
              AND p.polroles = '{0}'
              AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = own_rows
              AND pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) = own_rows
        ) THEN
            EXECUTE format('DROP POLICY IF EXISTS tenant ON %s', owned.name);
            EXECUTE format('CREATE POLICY tenant ON %s USING %s WITH CHECK %s', owned.name, own_rows, own_rows);
        END IF;
        IF NOT owned.is_part THEN  -- a part is reached through the whole table, and in no other way
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', owned.name, runtime);
        END IF;
    END LOOP;

    -- A view reads with the rights of who asks; otherwise it would read with its owner's.
    FOR owned IN
        SELECT c.oid::regclass AS name,
               coalesce('security_invoker=true' = ANY (c.reloptions), false) AS guarded
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v'
          AND NOT EXISTS (  -- an extension's views are its own
              SELECT FROM pg_catalog.pg_depend d
              WHERE d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e')
    LOOP
        IF NOT owned.guarded THEN
            EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', owned.name);
        END IF;
        EXECUTE format('GRANT SELECT ON %s TO %I', owned.name, runtime);
    END LOOP;
END
$$;
