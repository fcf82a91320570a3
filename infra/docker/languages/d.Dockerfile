# D by its LLVM compiler.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ldc libc6-dev gcc \
 && rm -rf /var/lib/apt/lists/*
RUN ldc2 --version
