# R with the packages that most analyses begin with.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        r-base-core r-recommended r-cran-data.table r-cran-dplyr r-cran-ggplot2 r-cran-jsonlite r-cran-readr \
        r-cran-stringr r-cran-tidyr \
 && rm -rf /var/lib/apt/lists/*
RUN Rscript --vanilla -e 'library(dplyr); library(ggplot2)'
