# JavaScript and TypeScript: esbuild strips types and keeps enums, which node's own stripping refuses.
ARG BASE=node:22-bookworm-slim

FROM ${BASE}
ENV PATH=/opt/node-tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN npm install --global --prefix /opt/node-tools --no-audit --no-fund esbuild@0.25.12 typescript@7.0.2 \
 && npm cache clean --force
RUN echo 'enum A { b = 1 } console.log(A.b)' > /tmp/a.ts \
 && esbuild /tmp/a.ts --log-level=error --outfile=/tmp/a.js && node /tmp/a.js && rm /tmp/a.ts /tmp/a.js
