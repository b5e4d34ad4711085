-- How far stores of developers were brought in (`claude-mem migrate postgres`): for each of a store's tables the ranges
-- of keys, by the last key of each, with how many rows it holds and a hash of them. Kept in the transaction that brings
-- the rows, so it never says more than is there. Made anew by bringing everything again, which doubles nothing.
CREATE TABLE IF NOT EXISTS public.migrated_ranges (
  enterprise_id uuid NOT NULL,
  store uuid NOT NULL,
  relation text NOT NULL,
  upto text COLLATE "C" NOT NULL,
  row_count integer NOT NULL,
  digest bytea NOT NULL,
  PRIMARY KEY (enterprise_id, store, relation, upto)
);
