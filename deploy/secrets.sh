#!/bin/sh
# Makes deploy/secrets: a password for every part of compose.yaml, and the addresses that hold them. What is there stays.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

random() { od -An -tx1 -N24 /dev/urandom | tr -d ' \n'; }
make() { [ -s "$1" ] || random > "$1"; }
# What is there already may be nobody's to write to: it is replaced.
put() { cat > "$1.new"; mv -f "$1.new" "$1"; }

for name in postgres_password owner_password runtime_password redis_password nats_password operator_token; do
  make "$name"
done
printf 'postgresql://claude_mem_owner:%s@postgres:5432/claude_mem' "$(cat owner_password)" | put owner_url
printf 'postgresql://claude_mem:%s@postgres:5432/claude_mem' "$(cat runtime_password)" | put database_url
printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" | put redis_url
printf 'nats://claude_mem:%s@nats:4222' "$(cat nats_password)" | put nats_url
put redis_conf <<END
bind 0.0.0.0
requirepass $(cat redis_password)
save ""
appendonly no
maxmemory 256mb
maxmemory-policy volatile-lru
END
put nats_conf <<END
port: 4222
http: 127.0.0.1:8222
max_payload: 8MB
jetstream { store_dir: /data, max_file_store: 20GB, sync_interval: always }
authorization { user: claude_mem, password: "$(cat nats_password)" }
END
# Containers read them as users of their own; the folder keeps everybody else on this machine out.
chmod 700 .
chmod 444 ./*
echo "deploy/secrets is ready. The operator's token: deploy/secrets/operator_token"
