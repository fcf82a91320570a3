# JavaScript and TypeScript: esbuild strips types and keeps enums, which node's own stripping refuses.
ARG BASE=node:22-bookworm-slim

FROM ${BASE}
RUN npm install --global --no-audit --no-fund esbuild@0.25.12 typescript@5.9.3 \
 && npm cache clean --force
RUN echo 'enum A { b = 1 } console.log(A.b)' > /tmp/a.ts \
 && esbuild /tmp/a.ts --log-level=error --outfile=/tmp/a.js && node /tmp/a.js && rm /tmp/a.ts /tmp/a.js
