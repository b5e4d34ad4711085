-- The lexical index: one row a document, and the two functions that search it.
--
-- `terms` are given tokens, never analysed again. Each lexeme begins with a code of its tenant and the number of its
-- segment (4096 documents), then a space and a word, or a colon and a label. So a word has a list of its own in every
-- segment: the newest documents of a word are found without touching the others, no tenant pays for another's words (or
-- could learn of them by the clock), and what is written lies together. Two tenants of the same code share lists, not
-- answers: rows are compared by tenant all the same. Lexemes carry no positions, which end at 16383 and 256 a lexeme:
-- `tokens` (title, line feed, body, each token between spaces) says what is next to what, however long.
CREATE TABLE IF NOT EXISTS public.search_index (
  enterprise_id uuid NOT NULL,
  number bigint NOT NULL CHECK (number > 0),
  terms tsvector NOT NULL,
  tokens text COLLATE "C" NOT NULL,
  PRIMARY KEY (enterprise_id, number)
  -- What is deleted leaves the files when the table is vacuumed: often, for that is cheap.
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.05);

DO $$
BEGIN
  -- Once: it locks the table. Afterwards it is looked after with all the others.
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = 'public.search_index'::regclass) THEN
    ALTER TABLE public.search_index ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON public.search_index
      USING (enterprise_id = NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid)
      WITH CHECK (enterprise_id = NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid);
    -- Nothing is known of a lexeme by statistics: there are as many as words times segments.
    ALTER TABLE public.search_index ALTER COLUMN terms SET STATISTICS 0;
  END IF;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.search_index TO :"runtime";

-- The list of what is not yet in its place is read by every search: short.
CREATE INDEX IF NOT EXISTS ix_search_terms ON public.search_index
  USING gin (terms) WITH (fastupdate = on, gin_pending_list_limit = 512);

-- A token as an operand of a tsquery; chr(1) stands for code and segment. Its first 128 characters count.
CREATE OR REPLACE FUNCTION public.search_operand(kind text, token text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '''' || chr(1) || kind
  || replace(replace(translate(left(rtrim(token, '*'), 128), chr(1), ''), '\', '\\'), '''', '''''')
  || CASE WHEN right(token, 1) = '*' THEN ''':*' ELSE '''' END;

-- Row-level security keeps `@@` from using an index (it is not leakproof), so these two functions pass it. The tenant
-- is the session's setting, read here and no argument; they tell numbers of its own documents and nothing else.
--
-- `words` and `labels` are groups, each of alternatives between spaces, a word's beginning ending in `*`; one of every
-- group is required. Every phrase is required, every one of `excluded` forbidden (tokens between spaces). The newest
-- `most` numbers above `floor` come back, newest first, 8 bytes each.
CREATE OR REPLACE FUNCTION public.search_find(
  words text[], labels text[], phrases text[], excluded text[], floor bigint, most integer
) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
SET max_parallel_workers_per_gather = 0 SET plan_cache_mode = force_generic_plan AS $find$
DECLARE
  segment CONSTANT bigint := 4096;
  tenant CONSTANT uuid := NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid;
  code CONSTANT text := left(encode(sha256(uuid_send(tenant)), 'base64'), 4);
  -- What must and must not stand next to each other; a lone token is told by the index.
  near CONSTANT text[] := ARRAY(SELECT ' ' || p || ' ' FROM unnest(phrases) AS p WHERE strpos(p, ' ') > 0);
  apart CONSTANT text[] := ARRAY(SELECT ' ' || p || ' ' FROM unnest(excluded) AS p WHERE strpos(p, ' ') > 0);
  shape text;
  low bigint;
  high bigint;
  newest bigint;
  width bigint := 1;
  widest bigint;
  part bytea;
  found bytea := '';
BEGIN
  SELECT string_agg(operand, '&') INTO shape FROM (
    SELECT '(' || (SELECT string_agg(public.search_operand(' ', t), '|') FROM string_to_table(w, ' ') AS t) || ')'
    FROM unnest(words) AS w
    UNION ALL
    SELECT '(' || (SELECT string_agg(public.search_operand(':', t), '|') FROM string_to_table(l, ' ') AS t) || ')'
    FROM unnest(labels) AS l
    UNION ALL
    SELECT public.search_operand(' ', t) FROM unnest(phrases) AS p, string_to_table(p, ' ') AS t
  ) AS required (operand);
  SELECT min(s.number), max(s.number) INTO low, high FROM public.search_index AS s WHERE s.enterprise_id = tenant;
  IF shape IS NULL OR low IS NULL THEN RETURN found; END IF;
  -- One list is read in many segments at once; where lists are to meet, a few at a time cost less.
  widest := CASE WHEN strpos(shape, '&') > 0 THEN 16 ELSE 64 END;
  shape := '(' || concat_ws('&!', shape, (
    SELECT string_agg(public.search_operand(' ', e), '&!') FROM unnest(excluded) AS e WHERE strpos(e, ' ') = 0
  )) || ')';
  low := greatest(low, floor + 1) / segment;
  high := high / segment;
  newest := high;
  WHILE high >= low AND length(found) < most * 8 LOOP
    SELECT string_agg(int8send(latest.number), ''::bytea ORDER BY latest.number DESC) INTO part FROM (
      SELECT s.number FROM public.search_index AS s
      WHERE s.terms @@ (
          SELECT string_agg(replace(shape, chr(1), code || to_hex(n)), '|')
          FROM generate_series(greatest(low, high - width + 1), high) AS n
        )::tsquery
        AND (s.enterprise_id = tenant) IS TRUE  -- not as an index condition: that index would be read from end to end
        AND s.number > floor
        AND NOT EXISTS (SELECT FROM unnest(near) AS n WHERE strpos(s.tokens, n) = 0)
        AND NOT EXISTS (SELECT FROM unnest(apart) AS a WHERE strpos(s.tokens, a) > 0)
      ORDER BY s.number DESC LIMIT most - length(found) / 8
    ) AS latest;
    found := found || coalesce(part, ''::bytea);
    high := high - width;
    -- Every row that is looked at costs a page: no more segments than should hold what is missing, and a quarter.
    width := least(widest, width * 4, CASE WHEN found = '' THEN widest ELSE
      ceil(1.25 * (most - length(found) / 8) * (newest - high) / (length(found) / 8)) END);
  END LOOP;
  RETURN found;
END
$find$;

-- The first `most` of own documents `numbers`, those first that speak of the words most: BM25 (Robertson and Zaragoza
-- 2009) with a title's words counted three times, each word weighing as `weights` says, and length in bytes.
CREATE OR REPLACE FUNCTION public.search_rank(
  words text[], weights float8[], numbers bigint[], most integer
) RETURNS bytea
LANGUAGE sql STABLE STRICT SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
SET max_parallel_workers_per_gather = 0 AS $rank$
WITH wanted AS MATERIALIZED (
  SELECT ' ' || rtrim(w.word, '*') || CASE WHEN right(w.word, 1) = '*' THEN '' ELSE ' ' END AS needle, w.weight
  FROM unnest(words, weights) AS w (word, weight)
), document AS MATERIALIZED (
  SELECT s.number, s.tokens, split_part(s.tokens, E'\n', 1) AS title,
    0.3 + 0.9 * octet_length(s.tokens) / avg(octet_length(s.tokens)) OVER () AS norm
  FROM public.search_index AS s
  WHERE s.number = ANY (numbers)
    AND s.enterprise_id = NULLIF(current_setting('app.current_enterprise_id', true), '')::uuid
), ranked AS (
  SELECT d.number, (
    SELECT sum(wanted.weight * hits.count / (hits.count + d.norm)) FROM wanted, LATERAL (
      SELECT (octet_length(d.tokens) - octet_length(replace(d.tokens, needle, ''))
        + 2 * (octet_length(d.title) - octet_length(replace(d.title, needle, '')))
      )::float8 / octet_length(needle) AS count
      OFFSET 0  -- counted once, used twice
    ) AS hits
  ) AS score
  FROM document AS d ORDER BY score DESC, d.number DESC LIMIT most
)
SELECT coalesce(string_agg(int8send(number), ''::bytea ORDER BY score DESC, number DESC), ''::bytea)
FROM ranked
$rank$;

-- Their owner may read what they look at and no more. To be given a function, a role must be able to make one; for that
-- moment only.
REVOKE ALL ON FUNCTION public.search_operand, public.search_find, public.search_rank FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.search_operand TO :"definer";
GRANT EXECUTE ON FUNCTION public.search_find, public.search_rank TO :"runtime";
GRANT SELECT ON public.search_index TO :"definer";
GRANT USAGE, CREATE ON SCHEMA public TO :"definer";
ALTER FUNCTION public.search_find OWNER TO :"definer";
ALTER FUNCTION public.search_rank OWNER TO :"definer";
REVOKE CREATE ON SCHEMA public FROM :"definer";
