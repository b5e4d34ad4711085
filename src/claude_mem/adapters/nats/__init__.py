"""NATS JetStream: inbox."""
