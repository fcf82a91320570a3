#!/usr/bin/env bash
# Builds Millrace's images: all of them, or those named.
#
#   infra/docker/build-images.sh                    everything
#   infra/docker/build-images.sh sidecar py js      some
#
# names: service, sidecar (both modes), and the codes of the languages.
# K8S_IMAGE_REGISTRY (millrace) and K8S_IMAGE_TAG (latest) name them, as the settings do; ENGINE is docker or podman;
# PUSH=true pushes each. BASE_<NAME> replaces a base image, best by digest:
#   BASE_PY=python@sha256:... BASE_GO=golang@sha256:... infra/docker/build-images.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

registry=${K8S_IMAGE_REGISTRY:-millrace}
tag=${K8S_IMAGE_TAG:-latest}
languages=(py js ts go java c cpp php rs r f90 d)

engine() {
    if [ -n "${ENGINE:-}" ]; then
        echo "$ENGINE"
    else
        command -v docker || command -v podman || { echo "build-images: no docker and no podman here" >&2; exit 1; }
    fi
}

# build IMAGE DOCKERFILE [ARGUMENT...] CONTEXT
build() {
    local image=$registry/$1:$tag file=infra/docker/$2
    shift 2
    echo "== $image"
    DOCKER_BUILDKIT=1 "$engine" build --file "$file" --tag "$image" "$@"
    if [ "${PUSH:-}" = true ]; then
        "$engine" push "$image"
    fi
}

# base ARGUMENT VARIABLE: the option that replaces a base image, if the operator named one
base() {
    if [ -n "${!2:-}" ]; then
        printf '%s\n' --build-arg "$1=${!2}"
    fi
}

file_of() {
    case $1 in
        js | ts) echo node ;;
        c | cpp | f90) echo gcc ;;
        *) echo "$1" ;;
    esac
}

build_sidecar() {
    local bases
    mapfile -t bases < <(base GO_BASE BASE_GO && base PYTHON_BASE BASE_PY)
    for mode in agent nsenter; do
        build "millrace-sidecar-$mode" sidecar.Dockerfile --target "$mode" "${bases[@]}" .
    done
}

build_language() {
    local bases
    mapfile -t bases < <(base BASE "BASE_${1^^}")
    local context=infra/docker/languages # nothing is copied from it
    [ "$1" != py ] || context=.
    build "millrace-$1" "languages/$(file_of "$1").Dockerfile" "${bases[@]}" "$context"
}

names=("$@")
[ $# -gt 0 ] || names=(service sidecar "${languages[@]}")
for name in "${names[@]}"; do
    case " service sidecar ${languages[*]} " in
        *" $name "*) ;;
        *) echo "build-images: there is no image $name; there are service, sidecar, ${languages[*]}" >&2; exit 2 ;;
    esac
done
engine=$(engine)
for name in "${names[@]}"; do
    case $name in
        service) build millrace Dockerfile . ;;
        sidecar) build_sidecar ;;
        *) build_language "$name" ;;
    esac
done
