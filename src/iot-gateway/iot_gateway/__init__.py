"""The gateway's relay daemon: listeners, disk outbox, uplink."""
