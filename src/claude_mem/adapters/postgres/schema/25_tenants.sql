-- Which enterprises there are is known to none of them. Operators list them, and scheduled work goes from one to the
-- next; so this one function passes row-level security. It tells ids: what is behind one is read as that tenant.
CREATE OR REPLACE FUNCTION public.tenant_ids(beyond uuid, most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $ids$
SELECT e.id FROM public.enterprises e WHERE e.id > beyond ORDER BY e.id LIMIT least(greatest(most, 0), 1000)
$ids$;
REVOKE ALL ON FUNCTION public.tenant_ids FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.tenant_ids TO :"runtime";

-- Its owner may read ids and no more. To be given a function, a role must be able to make one; for that moment only.
GRANT USAGE ON SCHEMA public TO :"definer";
GRANT SELECT (id) ON public.enterprises TO :"definer";
GRANT CREATE ON SCHEMA public TO :"definer";
ALTER FUNCTION public.tenant_ids OWNER TO :"definer";
REVOKE CREATE ON SCHEMA public FROM :"definer";
