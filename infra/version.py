"""The version, in the one place that everything which shows it reads."""

VERSION = "0.1.0"
