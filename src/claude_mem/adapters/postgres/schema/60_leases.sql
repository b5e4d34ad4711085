-- Who does the scheduled work: one replica at a time, for as long as it says so. Nothing of a tenant is here, so it stands
-- apart from their tables, in a schema that the runtime role cannot even enter. It may only ask for a lease, which it gets
-- when it is free, its own, or over by the database's clock.
CREATE SCHEMA IF NOT EXISTS claude_mem_control;
REVOKE ALL ON SCHEMA claude_mem_control FROM PUBLIC, :"runtime";
GRANT USAGE ON SCHEMA claude_mem_control TO :"definer";
CREATE TABLE IF NOT EXISTS claude_mem_control.leases (
  name text PRIMARY KEY,
  holder uuid NOT NULL,
  until timestamptz NOT NULL
);

CREATE OR REPLACE FUNCTION public.take_lease(which text, who uuid, seconds integer) RETURNS boolean
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $lease$
  WITH taken AS (
    INSERT INTO claude_mem_control.leases AS held (name, holder, until)
    VALUES (left(which, 64), who, clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 60)))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
      WHERE held.holder = excluded.holder OR held.until < clock_timestamp()
    RETURNING true AS mine
  )
  SELECT coalesce((SELECT mine FROM taken), false)
$lease$;
REVOKE ALL ON FUNCTION public.take_lease FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.take_lease TO :"runtime";
GRANT SELECT, INSERT, UPDATE ON claude_mem_control.leases TO :"definer";
ALTER FUNCTION public.take_lease OWNER TO :"definer";
