# Rust as it comes: programs are single files and use the standard library.
ARG BASE=rust:1.90-slim-bookworm

FROM ${BASE}
RUN rustc --version && cc --version
