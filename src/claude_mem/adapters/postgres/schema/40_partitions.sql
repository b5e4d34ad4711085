-- The tables that grow with every event are parted by month, by the time in their ids (UUIDv7 begins with it). Which
-- those are, their migrations say (PARTITION BY RANGE over one uuid); here are their parts.
--
-- Parts give the runtime role nothing: it comes through the whole table. They are guarded all the same (90_tenants.sql),
-- so that one that is taken out of its table is no hole.

-- Where parts go that are taken out (`claude-mem db partitions --detach`): nobody but the owner gets there.
CREATE SCHEMA IF NOT EXISTS claude_mem_detached;
REVOKE ALL ON SCHEMA claude_mem_detached FROM PUBLIC, :"runtime", :"definer";

-- What lies outside of every month: ids of a wrong clock, months before the first and after the last that was made.
DO $$
DECLARE
  parent record;
BEGIN
  FOR parent IN
    SELECT c.oid, c.relname FROM pg_catalog.pg_partitioned_table p JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
    WHERE c.relnamespace = 'public'::regnamespace AND p.partdefid = 0 ORDER BY c.relname
  LOOP
    EXECUTE format('CREATE TABLE public.%I PARTITION OF %s DEFAULT', parent.relname || '_default', parent.oid::regclass);
  END LOOP;
END
$$;

-- The least UUIDv7 of a moment in UTC.
CREATE OR REPLACE FUNCTION public.first_id(moment timestamp) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- One month of one table, with what lies in the default part of that month: 'made', 'there', 'detached' (it was taken
-- out: it is not begun again), or 'held back: ...' with nothing done, where more than `most` rows would have to move.
--
-- The new part is filled beside its table, so that readers and writers of other months go on; the default part is kept
-- from everybody for the moment. A writer that stands in the way, or in whose way this stands, loses and begins again.
CREATE OR REPLACE FUNCTION public.make_partition(parent regclass, month date, most bigint) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
  start CONSTANT timestamp := date_trunc('month', month::timestamp);
  low CONSTANT uuid := public.first_id(start);
  high CONSTANT uuid := public.first_id(start + interval '1 month');
  whole CONSTANT text := (SELECT relname FROM pg_class WHERE oid = parent);
  part CONSTANT text := whole || to_char(start, '"_y"YYYY"m"MM');
  own_rows CONSTANT text := 'enterprise_id = NULLIF(current_setting(''app.current_enterprise_id'', true), '''')::uuid';
  key text;
  spare regclass;
  columns text;
  waiting bigint := 0;
BEGIN
  IF to_regclass(format('public.%I', part)) IS NOT NULL THEN RETURN 'there'; END IF;
  IF to_regclass(format('claude_mem_detached.%I', part)) IS NOT NULL THEN RETURN 'detached'; END IF;
  SELECT quote_ident(a.attname), NULLIF(p.partdefid, 0)::regclass INTO STRICT key, spare
  FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
  WHERE p.partrelid = parent AND p.partstrat = 'r' AND p.partnatts = 1 AND a.atttypid = 'uuid'::regtype;
  IF spare IS NOT NULL THEN
    -- The policy holds for this function's owner too, and it has no tenant.
    EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', spare);
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %s WHERE %s >= $1 AND %2$s < $2 LIMIT $3) AS r', spare, key)
      INTO waiting USING low, high, most + 1;
  END IF;
  IF waiting <= most THEN
    EXECUTE format('CREATE TABLE public.%I (LIKE %s INCLUDING ALL)', part, parent);
    IF waiting > 0 THEN
      SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
      WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
      EXECUTE format('INSERT INTO public.%I (%s) SELECT %2$s FROM %s WHERE %s >= $1 AND %4$s < $2', part, columns, spare, key)
        USING low, high;
      EXECUTE format('DELETE FROM %s WHERE %s >= $1 AND %2$s < $2', spare, key) USING low, high;
    END IF;
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('CREATE POLICY tenant ON public.%I USING (%s) WITH CHECK (%2$s)', part, own_rows);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
  END IF;
  IF spare IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', spare);
  END IF;
  RETURN CASE WHEN waiting <= most THEN 'made' ELSE format('held back: more than %s rows would have to move', most) END;
END
$make$;

-- This month and the two after it, of every table. The runtime role may ask for it: it says neither which tables nor
-- which months, and comes to nothing it could not reach before. This acts with the owner's rights, because only who
-- owns a table can give it a part; many rows are moved for the owner only, who has no time limit.
CREATE OR REPLACE FUNCTION public.make_partitions() RETURNS TABLE (part text, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $all$
DECLARE
  this_month CONSTANT timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  most CONSTANT bigint := CASE WHEN session_user = current_user THEN 9000000000000000000 ELSE 10000 END;
  whole record;
  ahead integer;
BEGIN
  -- The upgrade's own lock: one at a time, and never beside it. Who comes second has nothing to do.
  IF NOT pg_try_advisory_xact_lock(x'636C6D656D'::bigint) THEN RETURN; END IF;
  FOR whole IN
    SELECT c.oid::regclass AS parent, c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
    WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname
  LOOP
    FOR ahead IN 0..2 LOOP
      part := whole.relname || to_char(this_month + ahead * interval '1 month', '"_y"YYYY"m"MM');
      outcome := public.make_partition(whole.parent, (this_month + ahead * interval '1 month')::date, most);
      RETURN NEXT;
    END LOOP;
  END LOOP;
END
$all$;
REVOKE ALL ON FUNCTION public.make_partition, public.first_id, public.make_partitions FROM PUBLIC, :"runtime";
GRANT EXECUTE ON FUNCTION public.make_partitions TO :"runtime";
ALTER FUNCTION public.make_partitions OWNER TO :"owner";

SELECT FROM public.make_partitions();
