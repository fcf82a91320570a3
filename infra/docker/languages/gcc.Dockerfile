# C, C++ and Fortran, with the libraries that exercises and contests lean on.
ARG BASE=gcc:14-bookworm

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends libboost-dev libeigen3-dev libgmp-dev liblapack-dev \
 && rm -rf /var/lib/apt/lists/*
RUN gcc --version && g++ --version && gfortran --version && stdbuf --version
