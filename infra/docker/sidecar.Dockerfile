# What stands between handlers and code in a pod: sandboxes/sidecar/PROTOCOL.md. Two images from one file:
#
#   docker build -f infra/docker/sidecar.Dockerfile --target agent   -t millrace-sidecar-agent:latest .
#   docker build -f infra/docker/sidecar.Dockerfile --target nsenter -t millrace-sidecar-nsenter:latest .
#
# No engine runs where this is developed: `make test-images` runs these very steps on a root file system.

ARG GO_BASE=golang:1.25-bookworm
ARG PYTHON_BASE=python:3.13-slim-bookworm

FROM ${GO_BASE} AS programs
WORKDIR /src
COPY sandboxes/go.mod ./
COPY sandboxes/shared ./shared
COPY sandboxes/agent ./agent
COPY sandboxes/sidecar ./sidecar
RUN mkdir /out \
 && for name in agent sidecar; do \
        CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -buildvcs=false "-ldflags=-s -w" -o /out/$name ./$name \
        || exit 1; \
    done

# File capabilities give the sidecar, which is not root, what entering a container takes; nothing else has them.
FROM programs AS powerful
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin && rm -rf /var/lib/apt/lists/* \
 && setcap cap_sys_admin,cap_sys_chroot,cap_sys_ptrace=ep /out/sidecar

FROM ${PYTHON_BASE} AS guest
COPY requirements.txt /tmp/requirements.txt
# All that this takes of the packages that are pinned: it goes into guest.zip.
RUN awk '/^[^ #]/ { keep = /^cloudpickle==/ } keep' /tmp/requirements.txt > /tmp/needed.txt \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r /tmp/needed.txt
COPY schemas /opt/app/schemas
COPY infra /opt/app/infra
COPY sandboxes /opt/app/sandboxes
RUN cd /opt/app && /opt/venv/bin/python -m sandboxes.pod_programs /out/guest

FROM scratch AS nsenter
COPY --from=programs /out/agent /agent
COPY --from=powerful /out/sidecar /sidecar
COPY --from=guest /out/guest /guest
USER 65532:65532
ENTRYPOINT ["/sidecar"]

FROM scratch AS agent
COPY --from=programs /out/agent /agent
COPY --from=programs /out/sidecar /sidecar
COPY --from=guest /out/guest /guest
USER 65532:65532
ENTRYPOINT ["/sidecar"]
