-- Jobs are claimed before a tenant is known, so this one function passes row-level security. It leases, and tells ids
-- and tenants; what a job is about is read as its tenant. It takes no predicate, no column and no name from its caller,
-- and waits for nobody: a row that somebody holds is passed over.
CREATE OR REPLACE FUNCTION public.claim_tasks(
  worker text, moment timestamptz, lease timestamptz, far timestamptz, busy uuid[], most integer
) RETURNS TABLE (enterprise_id uuid, id uuid)
LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $claim$
WITH held AS MATERIALIZED (
  SELECT q.enterprise_id, q.id FROM public.task_queue q
  WHERE q.id = ANY (busy) AND q.worker_id = worker AND q.status IN ('pending', 'running')
  FOR UPDATE SKIP LOCKED
), prolonged AS (
  UPDATE public.task_queue q SET lease_until = lease FROM held
  WHERE q.enterprise_id = held.enterprise_id AND q.id = held.id
), due AS MATERIALIZED (
  SELECT q.enterprise_id, q.id, q.priority, q.run_at FROM public.task_queue q
  WHERE q.status = 'pending' AND (q.run_at <= moment OR q.run_at > far)
    AND (q.lease_until IS NULL OR q.lease_until < moment OR q.lease_until > far) AND q.id <> ALL (busy)
  ORDER BY q.priority DESC, q.run_at, q.id LIMIT least(greatest(most, 0), 1000)
  FOR UPDATE SKIP LOCKED
), abandoned AS MATERIALIZED (
  SELECT q.enterprise_id, q.id, q.priority, q.run_at FROM public.task_queue q
  WHERE q.status = 'running' AND (q.lease_until < moment OR q.lease_until > far) AND q.id <> ALL (busy)
  ORDER BY q.priority DESC, q.run_at, q.id LIMIT least(greatest(most, 0), 1000)
  FOR UPDATE SKIP LOCKED
), chosen AS MATERIALIZED (
  SELECT * FROM (SELECT * FROM due UNION ALL SELECT * FROM abandoned) candidates
  ORDER BY priority DESC, run_at, id LIMIT least(greatest(most, 0), 1000)
), leased AS (
  UPDATE public.task_queue q SET status = 'running', worker_id = worker, lease_until = lease,
    started_at = moment, retry_count = q.retry_count + 1
  FROM chosen WHERE q.enterprise_id = chosen.enterprise_id AND q.id = chosen.id
  RETURNING q.enterprise_id, q.id
)
SELECT chosen.enterprise_id, chosen.id
FROM chosen JOIN leased ON leased.enterprise_id = chosen.enterprise_id AND leased.id = chosen.id
ORDER BY chosen.priority DESC, chosen.run_at, chosen.id
$claim$;
REVOKE ALL ON FUNCTION public.claim_tasks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.claim_tasks TO :"runtime";

-- Its owner may do what it does and no more: no payload, no key, no error. To be given a function, a role must be able
-- to make one; for that moment only.
GRANT SELECT (enterprise_id, id, priority, status, run_at, lease_until, worker_id, retry_count),
  UPDATE (status, worker_id, lease_until, started_at, retry_count) ON public.task_queue TO :"definer";
GRANT CREATE ON SCHEMA public TO :"definer";
ALTER FUNCTION public.claim_tasks OWNER TO :"definer";
REVOKE CREATE ON SCHEMA public FROM :"definer";

-- The order in which jobs are claimed, so that a claim costs the same however many wait. Asked for first, because to
-- make an index keeps writers out even where it is there already.
DO $$
BEGIN
  IF to_regclass('public.ix_task_next') IS NULL THEN
    CREATE INDEX ix_task_next ON public.task_queue (priority DESC, run_at, id) WHERE status = 'pending';
  END IF;
END
$$;
