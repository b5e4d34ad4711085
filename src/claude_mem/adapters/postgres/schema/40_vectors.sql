-- The vector index: one row a vector, the cells of those who have many, and the function that searches both. All of it
-- needs pgvector; where that is not installed, this file is passed over and there is no vector search.
--
-- Vectors have length 1 and 16 bits a number: half the room of 32, as fast, and what is nearest stays so. They lie beside
-- the other columns, not elsewhere: comparing them is what searches do.
CREATE TABLE IF NOT EXISTS public.vector_index (
  enterprise_id uuid NOT NULL,
  id uuid NOT NULL,
  project_id uuid,
  model text COLLATE "C" NOT NULL,
  dimension smallint NOT NULL,
  cell integer,
  vector :"vectors".halfvec NOT NULL CHECK (:"vectors".vector_dims(vector) = dimension),
  PRIMARY KEY (enterprise_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

-- Who has many vectors of a model has them in cells of about a hundred and fifty, each vector in that whose centre is
-- nearest to it. A question looks into the cells whose centres are nearest.
CREATE TABLE IF NOT EXISTS public.vector_cells (
  enterprise_id uuid NOT NULL,
  model text COLLATE "C" NOT NULL,
  dimension smallint NOT NULL,
  cell integer NOT NULL,
  centre :"vectors".halfvec NOT NULL CHECK (:"vectors".vector_dims(centre) = dimension),
  PRIMARY KEY (enterprise_id, model, dimension, cell)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

DO $$
DECLARE
  owned text;
  flat record;
BEGIN
  -- Each of these once, for it locks its table. Afterwards they are looked after with all the others.
  --
  -- Before there were cells there were graphs, which tenants shared. They go with the column that said what was in which;
  -- that is compared one by one until it is in cells.
  IF EXISTS (SELECT FROM pg_attribute
             WHERE attrelid = 'public.vector_index'::regclass AND attname = 'lane' AND NOT attisdropped) THEN
    ALTER TABLE public.vector_index DROP COLUMN lane, ADD COLUMN cell integer;
    DROP FUNCTION public.vector_lane(smallint);
    DROP TABLE public.vector_lanes;
  END IF;
  FOREACH owned IN ARRAY ARRAY['vector_index', 'vector_cells'] LOOP
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = ('public.' || owned)::regclass) THEN
      EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', owned);
      EXECUTE format('CREATE POLICY tenant ON public.%I'
        ' USING (enterprise_id = NULLIF(current_setting(''app.current_enterprise_id'', true), '''')::uuid)'
        ' WITH CHECK (enterprise_id = NULLIF(current_setting(''app.current_enterprise_id'', true), '''')::uuid)', owned);
    END IF;
  END LOOP;
  FOR flat IN
    SELECT a.attrelid::regclass AS name, a.attname FROM pg_attribute AS a
    WHERE a.attstorage <> 'p' AND (a.attrelid, a.attname) IN (
      ('public.vector_index'::regclass, 'vector'), ('public.vector_cells'::regclass, 'centre'))
  LOOP
    EXECUTE format(
      'ALTER TABLE %1$s ALTER COLUMN %2$I SET STORAGE PLAIN, ALTER COLUMN %2$I SET STATISTICS 0', flat.name, flat.attname);
  END LOOP;
  IF to_regclass('public.ix_vector_scope') IS NULL THEN
    CREATE INDEX ix_vector_scope ON public.vector_index (enterprise_id, model, dimension, project_id);
  END IF;
  IF to_regclass('public.ix_vector_new') IS NULL THEN
    CREATE INDEX ix_vector_new ON public.vector_index (enterprise_id, model, dimension) WHERE cell IS NULL;
  END IF;
  IF to_regclass('public.ix_vector_cell') IS NULL THEN
    CREATE INDEX ix_vector_cell ON public.vector_index (enterprise_id, model, dimension, cell)
      INCLUDE (project_id) WHERE cell IS NOT NULL;
  END IF;
  -- With the vectors in it, cell by cell: rows lie where there was room, and a page for each costs ten times as much as
  -- comparing it. What is wider does not fit; it is read from the rows.
  IF to_regclass('public.ix_vector_near') IS NULL THEN
    CREATE INDEX ix_vector_near ON public.vector_index (enterprise_id, model, dimension, cell)
      INCLUDE (id, project_id, vector) WHERE cell IS NOT NULL AND dimension <= 1024;
  END IF;
  DROP INDEX IF EXISTS public.ix_vector_fresh;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.vector_index, public.vector_cells TO :"runtime";

-- Row-level security would have the tenant of every row compared again, and a plan made that knows of no cells. So this
-- function passes it. The tenant is the session's setting, read here and no argument; it tells ids of its own vectors and
-- their cosines, and nothing else.
--
-- Who has no cells is compared with every vector: exact, in about 0.6 microseconds each; so are projects that have up to
-- 20,000 together. Else as many of the nearest cells are looked into as hold 12,000 of the vectors that are asked for,
-- and what is in no cell yet is compared too.
CREATE OR REPLACE FUNCTION public.vector_nearest(model text, query real[], projects uuid[], most integer)
RETURNS TABLE (id uuid, similarity real)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
SET max_parallel_workers_per_gather = 0 SET plan_cache_mode = force_generic_plan SET work_mem = '16MB' AS $nearest$
#variable_conflict use_column
DECLARE
  exact CONSTANT integer := 20000;
  enough CONSTANT integer := 12000;
  tenant CONSTANT uuid := NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid;
  asked CONSTANT text := model;
  wanted CONSTANT integer := least(greatest(coalesce(most, 0), 0), 1000);
  size CONSTANT smallint := coalesce(cardinality(query), 0);
  probe :"vectors".halfvec;
  cells integer[];
  upto integer := 90;
  inside bigint;
BEGIN
  IF tenant IS NULL OR wanted = 0 OR size = 0 THEN RETURN; END IF;
  probe := query:::"vectors".halfvec;
  SELECT array_agg(c.cell ORDER BY c.centre OPERATOR(:"vectors".<#>) probe, c.cell) INTO cells
  FROM public.vector_cells AS c WHERE c.enterprise_id = tenant AND c.model = asked AND c.dimension = size;
  IF cells IS NOT NULL AND projects IS NOT NULL THEN
    SELECT count(*) INTO inside FROM (
      SELECT FROM public.vector_index AS v
      WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.project_id = ANY (projects)
      LIMIT exact + 1
    ) AS counted;
  END IF;
  IF cells IS NOT NULL AND (projects IS NULL OR inside > exact) THEN
    LOOP
      SELECT count(*) INTO inside FROM public.vector_index AS v
      WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.cell = ANY (cells[:upto])
        AND (projects IS NULL OR v.project_id = ANY (projects));
      EXIT WHEN inside >= enough OR upto >= cardinality(cells);
      -- As many more as would be enough if the next ones were like these; farther ones are mostly not emptier.
      upto := upto + greatest(8, least(3 * upto, upto * (enough - inside) / greatest(inside, 1)));
    END LOOP;
    IF size <= 1024 THEN
      RETURN QUERY
        SELECT n.id, (-n.distance)::real FROM (
          SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe AS distance FROM public.vector_index AS v
          WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.cell = ANY (cells[:upto])
            AND v.dimension <= 1024  -- lets the vectors be read from their index
            AND (projects IS NULL OR v.project_id = ANY (projects))
          UNION ALL
          SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe FROM public.vector_index AS v
          WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.cell IS NULL
            AND (projects IS NULL OR v.project_id = ANY (projects))
        ) AS n ORDER BY n.distance, n.id LIMIT wanted;
    ELSE
      RETURN QUERY
        SELECT n.id, (-n.distance)::real FROM (
          SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe AS distance FROM public.vector_index AS v
          WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.cell = ANY (cells[:upto])
            AND (projects IS NULL OR v.project_id = ANY (projects))
          UNION ALL
          SELECT v.id, v.vector OPERATOR(:"vectors".<#>) probe FROM public.vector_index AS v
          WHERE v.enterprise_id = tenant AND v.model = asked AND v.dimension = size AND v.cell IS NULL
            AND (projects IS NULL OR v.project_id = ANY (projects))
        ) AS n ORDER BY n.distance, n.id LIMIT wanted;
    END IF;
    RETURN;
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

-- Its owner may read what it looks at and no more. To be given a function, a role must be able to make one; for that
-- moment only.
REVOKE ALL ON FUNCTION public.vector_nearest FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.vector_nearest TO :"runtime";
GRANT SELECT ON public.vector_index, public.vector_cells TO :"definer";
GRANT USAGE, CREATE ON SCHEMA public TO :"definer";
ALTER FUNCTION public.vector_nearest OWNER TO :"definer";
REVOKE CREATE ON SCHEMA public FROM :"definer";
