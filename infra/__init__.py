"""The ground: settings, errors, logs, the Redis client and the stores. Imports only the words."""
