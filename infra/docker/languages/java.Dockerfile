# Java with a font, for pictures that are drawn without a screen.
ARG BASE=eclipse-temurin:21-jdk

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends fontconfig fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/*
RUN java -version && javac -version
