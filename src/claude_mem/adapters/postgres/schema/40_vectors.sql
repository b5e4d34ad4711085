-- The vector index: one row a vector, the graphs of those who have many, and the function that searches both. All of
-- it needs pgvector; where that is not installed, this file is passed over and there is no vector search.
--
-- Vectors have length 1 and 16 bits a number: half the room of 32, as fast, and what is nearest stays so. They lie beside
-- the other columns, not elsewhere: comparing them all is what most searches do.
SELECT '[1]':::"vectors".halfvec;  -- loads the library: from then on the session knows its settings

CREATE TABLE IF NOT EXISTS public.vector_index (
  enterprise_id uuid NOT NULL,
  id uuid NOT NULL,
  project_id uuid,
  model text COLLATE "C" NOT NULL,
  dimension smallint NOT NULL,
  lane smallint,
  vector :"vectors".halfvec NOT NULL CHECK (:"vectors".vector_dims(vector) = dimension),
  PRIMARY KEY (enterprise_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

-- Who has so many vectors of a model that they are put into a graph, how many are in it, and which it is: its lane. A
-- graph that others share has to be searched the deeper the smaller one's part of it is, so there are eight, and whoever
-- comes takes the emptiest.
CREATE TABLE IF NOT EXISTS public.vector_lanes (
  enterprise_id uuid NOT NULL,
  model text COLLATE "C" NOT NULL,
  dimension smallint NOT NULL,
  lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 7),
  settled bigint NOT NULL CHECK (settled >= 0),
  PRIMARY KEY (enterprise_id, model, dimension)
);

DO $$
DECLARE
  owned text;
  size integer;
  lane integer;
BEGIN
  -- Once: each of these locks its table. Afterwards they are looked after with all the others.
  FOREACH owned IN ARRAY ARRAY['vector_index', 'vector_lanes'] LOOP
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = ('public.' || owned)::regclass) THEN
      EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', owned);
      EXECUTE format('CREATE POLICY tenant ON public.%I'
        ' USING (enterprise_id = NULLIF(current_setting(''app.current_enterprise_id'', true), '''')::uuid)'
        ' WITH CHECK (enterprise_id = NULLIF(current_setting(''app.current_enterprise_id'', true), '''')::uuid)', owned);
    END IF;
  END LOOP;
  IF (SELECT attstorage <> 'p' FROM pg_attribute
      WHERE attrelid = 'public.vector_index'::regclass AND attname = 'vector') THEN
    ALTER TABLE public.vector_index ALTER COLUMN vector SET STORAGE PLAIN, ALTER COLUMN vector SET STATISTICS 0;
  END IF;
  IF to_regclass('public.ix_vector_scope') IS NULL THEN
    CREATE INDEX ix_vector_scope ON public.vector_index (enterprise_id, model, dimension, project_id);
  END IF;
  IF to_regclass('public.ix_vector_fresh') IS NULL THEN
    CREATE INDEX ix_vector_fresh ON public.vector_index (enterprise_id, model, dimension) WHERE lane IS NULL;
  END IF;
  -- What models commonly have; of another dimension every search compares all of its tenant's vectors.
  FOREACH size IN ARRAY ARRAY[384, 512, 768, 1024, 1536] LOOP
    FOR lane IN 0..7 LOOP
      IF to_regclass(format('public.ix_vector_graph_%s_%s', size, lane)) IS NULL THEN
        EXECUTE format(
          'CREATE INDEX ix_vector_graph_%1$s_%2$s ON public.vector_index USING hnsw'
          ' ((vector:::"vectors".halfvec(%1$s)) :"vectors".halfvec_ip_ops) WITH (m = 24, ef_construction = 128)'
          ' WHERE dimension = %1$s AND lane = %2$s',
          size, lane);
      END IF;
    END LOOP;
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.vector_index, public.vector_lanes TO :"runtime";

-- The lane with the fewest vectors; null where there is no graph of that dimension. It tells a number from 0 to 7, which
-- only everybody's rows say.
CREATE OR REPLACE FUNCTION public.vector_lane(dimension smallint) RETURNS smallint
LANGUAGE sql STABLE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $lane$
SELECT n::smallint FROM generate_series(0, 7) AS n
LEFT JOIN public.vector_lanes AS l ON l.lane = n AND l.dimension = vector_lane.dimension
WHERE to_regclass(format('public.ix_vector_graph_%s_%s', vector_lane.dimension, n)) IS NOT NULL
GROUP BY n ORDER BY coalesce(sum(l.settled), 0), n LIMIT 1
$lane$;

-- Row-level security keeps a graph from being walked (its operator is not leakproof), and a graph that knows no tenant
-- loses those who have little in it. So this function passes it. The tenant is the session's setting, read here and no
-- argument; it tells ids of its own vectors and their cosines, and nothing else.
--
-- Up to 20,000 vectors of the tenant, or of the projects, are compared one by one: exact, in about 0.6 microseconds each.
-- Above that its lane's graph is walked, and what is not yet in the graph is compared.
CREATE OR REPLACE FUNCTION public.vector_nearest(model text, query real[], projects uuid[], most integer)
RETURNS TABLE (id uuid, similarity real)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_sort = off SET jit = off
SET max_parallel_workers_per_gather = 0 SET plan_cache_mode = force_generic_plan SET work_mem = '16MB'
SET hnsw.iterative_scan = relaxed_order SET hnsw.max_scan_tuples = 40000 SET hnsw.ef_search = 800 AS $nearest$
#variable_conflict use_column
DECLARE
  exact CONSTANT integer := 20000;
  tenant CONSTANT uuid := NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid;
  asked CONSTANT text := model;
  wanted CONSTANT integer := least(greatest(coalesce(most, 0), 0), 1000);
  size CONSTANT smallint := coalesce(cardinality(query), 0);
  probe :"vectors".halfvec;
  place smallint;
  inside bigint;
  everyone bigint;
  share float8;
  ids uuid[];
  distances float8[];
BEGIN
  IF tenant IS NULL OR wanted = 0 OR size = 0 THEN RETURN; END IF;
  probe := query:::"vectors".halfvec;
  SELECT l.lane, l.settled INTO place, inside FROM public.vector_lanes AS l
  WHERE l.enterprise_id = tenant AND l.model = asked AND l.dimension = size;
  IF inside > exact AND projects IS NOT NULL THEN
    SELECT count(*) INTO inside FROM (
      SELECT FROM public.vector_index AS v
      WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.project_id = ANY (projects)
      LIMIT exact + 1
    ) AS counted;
  END IF;
  IF inside > exact THEN
    SELECT sum(l.settled) INTO everyone FROM public.vector_lanes AS l WHERE l.lane = place AND l.dimension = size;
    share := least(inside::float8 / greatest(everyone, 1), 1);
    PERFORM set_config('hnsw.ef_search', greatest(800, least(1000, ceil(3 * wanted / share)))::integer::text, true);
    EXECUTE format(
      'SELECT array_agg(n.id), array_agg(n.distance) FROM ('
      ' SELECT v.id, v.vector:::"vectors".halfvec(%1$s) OPERATOR(:"vectors".<#>) $1 AS distance'
      ' FROM public.vector_index AS v WHERE v.dimension = %1$s AND v.lane = %2$s'
      ' AND v.enterprise_id = $2 AND v.model = $3 AND ($4 IS NULL OR v.project_id = ANY ($4))'
      ' ORDER BY v.vector:::"vectors".halfvec(%1$s) OPERATOR(:"vectors".<#>) $1 LIMIT $5) AS n', size, place)
    INTO ids, distances USING probe, tenant, asked, projects, wanted;
    -- Fewer than there are: the walk ended too early. What is right comes before what is quick.
    IF cardinality(ids) = wanted THEN
      RETURN QUERY
        SELECT n.id, (-n.distance)::real FROM (
          SELECT * FROM unnest(ids, distances) AS walked (id, distance)
          UNION ALL
          SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe FROM public.vector_index AS v
          WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.lane IS NULL
            AND (projects IS NULL OR v.project_id = ANY (projects))
        ) AS n ORDER BY n.distance, n.id LIMIT wanted;
      RETURN;
    END IF;
  END IF;
  IF projects IS NULL THEN
    RETURN QUERY
      SELECT n.id, (-n.distance)::real FROM (
        SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe AS distance FROM public.vector_index AS v
        WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size
      ) AS n ORDER BY n.distance, n.id LIMIT wanted;
  ELSE
    RETURN QUERY
      SELECT n.id, (-n.distance)::real FROM (
        SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe AS distance FROM public.vector_index AS v
        WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.project_id = ANY (projects)
      ) AS n ORDER BY n.distance, n.id LIMIT wanted;
  END IF;
END
$nearest$;

-- Their owner may read what they look at and no more. To be given a function, a role must be able to make one; for that
-- moment only.
REVOKE ALL ON FUNCTION public.vector_lane, public.vector_nearest FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.vector_lane, public.vector_nearest TO :"runtime";
GRANT SELECT ON public.vector_index TO :"definer";
GRANT SELECT (enterprise_id, model, dimension, lane, settled) ON public.vector_lanes TO :"definer";
GRANT USAGE, CREATE ON SCHEMA public TO :"definer";
ALTER FUNCTION public.vector_lane OWNER TO :"definer";
ALTER FUNCTION public.vector_nearest OWNER TO :"definer";
REVOKE CREATE ON SCHEMA public FROM :"definer";
