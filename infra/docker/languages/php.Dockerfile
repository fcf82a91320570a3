# PHP with the extensions that most programs use.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        php-cli php-bcmath php-curl php-gd php-gmp php-intl php-mbstring php-sqlite3 php-xml php-zip \
 && rm -rf /var/lib/apt/lists/*
RUN php -r 'exit(extension_loaded("mbstring") && extension_loaded("gmp") ? 0 : 1);'
