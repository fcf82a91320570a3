# Python with what people expect of a code interpreter (infra/guest/requirements.in), and the shell beside it.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS guest
COPY requirements.txt /tmp/requirements.txt
# All that the installer takes of the packages that are pinned.
RUN awk '/^[^ #]/ { keep = /^msgspec==/ } keep' /tmp/requirements.txt > /tmp/needed.txt \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r /tmp/needed.txt
COPY schemas /opt/app/schemas
COPY infra /opt/app/infra
COPY sandboxes /opt/app/sandboxes
RUN cd /opt/app && MILLRACE_CACHE=/opt/guest /opt/venv/bin/python -m sandboxes.install --guest \
 && ln -s /opt/guest/guest-* /opt/guest/python

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends bc file gawk git jq procps unzip zip \
 && rm -rf /var/lib/apt/lists/*
COPY --from=guest /opt/guest /opt/guest
ENV PATH=/opt/guest/python/bin:/usr/local/bin:/usr/bin:/bin \
    MPLBACKEND=Agg OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
RUN python3 -I -c "import numpy, pandas, matplotlib"
